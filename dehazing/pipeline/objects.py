"""Objects below one address of an object store, through pyarrow's filesystems (s3, gs, file, …).

An object appears whole when its stream is closed; reading or listing after that sees it. Every failure but an
object that is missing becomes Unwritable, as trying later may help.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlsplit

from pyarrow import ArrowException
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

from dehazing.pipeline.writing import Unwritable, writing

CHUNK_BYTES = 4 << 20
NUM_READS = 3


class Found(NamedTuple):
    """What a listing says of an object; `written_ns` is the store's clock, often in whole seconds."""

    size: int
    written_ns: int


class Objects:
    """The objects below `place`, a URI such as s3://bucket/folder; names are paths relative to it.

    ValueError for a URI that pyarrow cannot open.
    """

    def __init__(self, place: str) -> None:
        parts = urlsplit(place)
        host = parts.netloc.rpartition("@")[2]
        self.name = f"{parts.scheme}://{host}{parts.path}".rstrip("/")  # without credentials and options
        try:
            with self._reaching():
                self._system, base = FileSystem.from_uri(_with_single_puts(place))
        except (ArrowException, ValueError) as error:
            if isinstance(error, Unwritable):
                raise
            raise ValueError(
                f"{self.name} must be a folder or an address such as s3://bucket/folder, but is not: {error}."
            ) from error
        self._base = base.rstrip("/")
        self.told: Callable[[int], object] = lambda num_bytes: None  # hears of every part of a file that was written
        if not self._base:
            raise ValueError(f"{self.name} must name a bucket or a folder, but names none.")

    def get(self, name: str) -> bytes | None:
        """The content of an object, or None where it is missing."""
        content = io.BytesIO()
        return content.getvalue() if self._copy(name, content) else None

    def fetch(self, name: str, path: Path) -> bool:
        """Copies an object into a file; False where it is missing."""
        with path.open("wb") as file:
            return self._copy(name, file, path.parent)

    def _copy(self, name: str, target: BinaryIO, folder: Path | None = None) -> bool:
        """Tried again where an object fails while it is read: it may just have been replaced, or removed."""
        for left in reversed(range(NUM_READS)):
            target.seek(0)
            target.truncate()
            try:
                with self._system.open_input_stream(self._path(name)) as stream:
                    while chunk := stream.read(CHUNK_BYTES):
                        with writing(folder) if folder else nullcontext():
                            target.write(chunk)
                return True
            except FileNotFoundError:
                return False
            except OSError:
                with self._reaching():
                    if self._system.get_file_info(self._path(name)).type == FileType.NotFound:
                        return False
                    if not left:
                        raise
        raise AssertionError("the last try returns or raises")

    def put(self, name: str, content: bytes | Path) -> None:
        """Writes an object, or replaces it."""
        path = self._path(name)
        with self._reaching(missing=True):
            if isinstance(self._system, LocalFileSystem):  # others have no folders
                self._system.create_dir(path.rpartition("/")[0], recursive=True)
            with self._system.open_output_stream(path) as stream:
                if isinstance(content, Path):
                    with content.open("rb") as file:
                        while chunk := file.read(CHUNK_BYTES):
                            stream.write(chunk)
                            self.told(len(chunk))
                else:
                    stream.write(content)

    def delete(self, name: str) -> None:
        """Removes an object; nothing happens where it is missing."""
        try:
            with self._reaching():
                self._system.delete_file(self._path(name))
        except FileNotFoundError:
            return

    def delete_below(self, folder: str) -> None:
        """Removes every object below a folder, and the folder where there is such a thing."""
        try:
            with self._reaching():
                self._system.delete_dir(self._path(folder))
        except FileNotFoundError:
            return

    def list(self, folder: str, recursive: bool = True) -> dict[str, Found]:
        """name relative to `folder` → what is known of each object below it, or right in it."""
        start = self._path(folder)
        with self._reaching(missing=True):
            selector = FileSelector(start, recursive=recursive, allow_not_found=True)
            infos = [info for info in self._system.get_file_info(selector) if info.type == FileType.File]
        return {info.path[len(start) + 1 :]: Found(info.size, info.mtime_ns) for info in infos}

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    @contextmanager
    def _reaching(self, missing: bool = False) -> Iterator[None]:
        """missing: whether a missing object is a failure too."""
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not missing:
                raise
            reason = " ".join(str(error).split()).rstrip(".")
            raise Unwritable(f"The store {self.name} must be reachable and writable, but is not: {reason}.") from error


def _with_single_puts(place: str) -> str:
    """S3 takes three requests for every small object where pyarrow is not told to wait for what is written."""
    if not place.startswith("s3://") or "allow_delayed_open" in place:
        return place
    return f"{place}{'&' if '?' in place else '?'}allow_delayed_open=true"
