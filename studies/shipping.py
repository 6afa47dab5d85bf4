"""A dataset of files on this machine, for a cluster: its series is made here and put into the storage, once."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import yaml
from tqdm import tqdm

from dehazing.data.dataset import DatasetConfig, digest, files_of, read_dataset
from dehazing.data.prepared import PreparedConfig
from dehazing.pipeline.cache import bound, cache_folder, used
from dehazing.pipeline.series import ensure_series, series_fingerprint
from dehazing.pipeline.store import MANIFEST, Store
from dehazing.strict import to_mapping
from studies.asking import dataset_of
from studies.cluster import CODE
from studies.head import Head
from studies.pruning import size
from studies.sending import send

RECEIVE = CODE / "cluster" / "receive.sh"
SUMS = "SHA256SUMS"
SPARE = 1.05  # times what is sent must be free


def is_to_be_shipped(dataset: Path) -> bool:
    """Whether a dataset's YAML lies here and names files of this machine, which no cluster has.

    ValueError where it cannot be read, or names files that are missing. An absolute path that leads to nothing here, in
    a YAML of the checkout, is the cluster's.
    """
    path = dataset.expanduser() if dataset.is_absolute() or dataset.is_file() else CODE / dataset
    if not path.is_file():
        return False
    config = read_dataset(path)
    try:
        return bool(files_of(config))
    except ValueError:
        if path.resolve().is_relative_to(CODE) and _names_absolutely(path):
            return False
        raise


def _names_absolutely(path: Path) -> bool:
    mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    named = (mapping.get("path") or mapping.get("object")) if isinstance(mapping, dict) else None
    return isinstance(named, str) and Path(named).is_absolute()


def ship(arguments: argparse.Namespace, head: Head) -> PurePosixPath:
    """See to it that the cluster has the dataset's series, and return the YAML on its head that stands for the dataset.

    What is there is neither made nor sent again. ValueError for a dataset that cannot be read, and for a storage that
    is not reached, is not writable or has no room.
    """
    if not arguments.dataset.is_absolute() and not arguments.dataset.is_file():
        arguments.dataset = CODE / arguments.dataset
    config = dataset_of(arguments)
    stem = arguments.dataset.stem
    name = series_fingerprint(config)
    dataset = PurePosixPath(arguments.storage) / "datasets" / name / f"{stem}.yaml"
    said = f"# What `submit` made of {stem}.yaml: its series is in the store, and its files need not be there.\n"
    said += yaml.safe_dump(to_mapping(PreparedConfig(name, digest(config))), sort_keys=False)

    def receive(step: str, root: str = str(arguments.storage)) -> str:
        return head.runs(RECEIVE.read_text(), [step, root, name, _sender(), str(dataset), said])

    if arguments.store:
        _ship_to_objects(config, name, arguments.store)
        receive("note")
        return dataset
    answer = receive("ask")
    if answer == "elsewhere":
        raise ValueError(
            f"The stages of {arguments.storage} are in an object store, so the series must go there, too: name that by "
            "--store."
        )
    if answer == "there":
        _say(name, f"is in {arguments.storage} already: nothing was sent")
        return dataset
    folder = _made(config, Store(cache_folder() / "prepared"), name)
    free, needed = int(answer.removeprefix("free ")), sum(path.stat().st_size for path in _files(folder))
    if free < SPARE * needed:
        raise ValueError(
            f"{arguments.storage} must have room for the series, {size(needed)}, but {size(free)} are free there."
        )
    with _listed(folder) as outgoing, _bar(needed) as sent:
        aside = PurePosixPath(arguments.storage) / "sending" / f"{name}-{_sender()}"
        send(head, outgoing, str(aside), sent)
    if receive("publish") != "there":
        raise ValueError(f"The series {name} must be in {arguments.storage} after it was sent, but is not.")
    _say(name, f"was sent to {arguments.storage}: {size(needed)}, checked there")
    return dataset


def _ship_to_objects(config: DatasetConfig, name: str, url: str) -> None:
    from dehazing.pipeline.object_store import ObjectStore

    store, address = ObjectStore(url), f"series/{name}"
    if store.has(address):
        _say(name, f"is in {store.name} already: nothing was sent")
        return
    store.check_writable()
    folder = _made(config, store.cache, name)
    files: dict[str, bytes | Path] = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    del files[MANIFEST]
    needed = sum(path.stat().st_size for path in _files(folder))
    read = 0
    with _bar(needed) as sent:

        def told(num_bytes: int) -> None:
            nonlocal read
            read += num_bytes
            sent(read)

        store.objects.told = told
        store.publish(address, files)
    _say(name, f"was sent to {store.name}: {size(needed)}")


def _made(config: DatasetConfig, store: Store, name: str) -> Path:
    """The folder of the series in a store of this machine, made where it is missing."""
    if not store.has(f"series/{name}"):
        print(f"series  {name} is made here", flush=True)
    ensure_series(config, store)
    used(store, f"series/{name}")
    bound(store, keep=[f"series/{name}"])
    return store.folder(f"series/{name}")


def _files(folder: Path) -> list[Path]:
    """What was published: no lease and no leftover."""
    names = yaml.safe_load((folder / MANIFEST).read_text())["files"]
    return [folder / name for name in (*names, MANIFEST)]


@contextmanager
def _listed(folder: Path) -> Iterator[Path]:
    """A folder to be sent: links to the published files, and a list of their digests as sha256sum reads it."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="publishing-", ignore_cleanup_errors=True) as aside:
        lines = []
        for path in _files(folder):
            to = Path(aside, path.relative_to(folder))
            to.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, to)
            except OSError:  # a file system without such links
                shutil.copy2(path, to)
            with path.open("rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(folder)}\n")
        Path(aside, SUMS).write_text("".join(lines))
        yield Path(aside)


@contextmanager
def _bar(num_bytes: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, told how many bytes of all are on their way; elsewhere a line."""
    live = sys.stderr.isatty()
    if not live:
        print(f"series  sending {size(num_bytes)}", flush=True)
    with tqdm(total=num_bytes, unit="B", unit_scale=True, desc="sending", disable=not live) as bar:

        def sent(so_far: int) -> None:
            bar.update(min(so_far, num_bytes) - bar.n)

        yield sent


def _sender() -> str:
    """This machine, the same each time, so that what was cut off is gone on with, and no other interferes."""
    return hashlib.sha256(f"{socket.gethostname()}:{os.getuid()}:{Path.home()}".encode()).hexdigest()[:8]


def _say(name: str, text: str) -> None:
    print(f"series  {name} {text}", flush=True)
