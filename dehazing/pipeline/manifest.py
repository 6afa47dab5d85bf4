"""What a published address holds: the size and SHA-256 of every file, in a manifest that is written last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "manifest.json"


class Damaged(ValueError):
    """A published file is not as its manifest says; whoever asked for it is not to blame."""


def content_of(address: str, files: Mapping[str, Mapping[str, Any]], **more: Any) -> bytes:
    """The manifest as it is written; files: name → `entry_of`."""
    return json.dumps({"address": address, **more, "files": files}, indent=1).encode()


def parsed(content: bytes) -> dict[str, Any] | None:
    """A manifest, or None where it was cut off while it was written."""
    try:
        manifest = json.loads(content)
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) and "files" in manifest else None


def entry_of(path: Path) -> dict[str, int | str]:
    """Size and digest of a file."""
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def check_size(entry: Mapping[str, Any], size: int | None, where: str, mend: str) -> None:
    """Damaged where a file is missing (size None) or has another size than its entry says."""
    if size is None:
        raise Damaged(f"{where} must be there as its manifest says, but is missing; {mend}.")
    if size != entry["size"]:
        raise Damaged(f"{where} must have {entry['size']} bytes, but has {size}; {mend}.")


def check_digest(entry: Mapping[str, Any], digest: str, where: str, mend: str) -> None:
    """Damaged where a file's SHA-256 is not that of its entry."""
    if digest != entry["sha256"]:
        raise Damaged(f"{where} must be as it was published, but its content has changed; {mend}.")


def check_bytes(entry: Mapping[str, Any], content: bytes, where: str, mend: str) -> None:
    """Damaged where the content is not what was published."""
    check_size(entry, len(content), where, mend)
    check_digest(entry, hashlib.sha256(content).hexdigest(), where, mend)
