"""Which code runs: the git commit of this checkout, and what the working tree differs in from it."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import zlib
from pathlib import Path

DIRTY = "-dirty"
SHIPPED = "DEHAZING_COMMIT"  # names the commit where a checkout came without its repository
SHIPPED_PATCH = "DEHAZING_PATCH"  # the patch to it, compressed
MOST_SHIPPED = 2**15  # characters of that: Linux takes at most 2 ** 17 in one variable, and Ray puts it into another
UNKNOWN = "unknown"  # no repository, or one that does not hold this package
KINDS = ("*.py", "*.yaml", "*.yml", "*.toml", "*.txt")  # of files that git does not know and that may matter
MOST = 2**20  # characters of the patch
MOST_NAMES = 1000  # of files, where that is too long
# whatever somebody has set for reading differences, the patch must be one that can be applied
DIFF = (
    *("diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative"),
    *("--src-prefix=a/", "--dst-prefix=b/"),
)


def commit(where: Path) -> str:
    """The commit that is checked out, with -dirty where the tree differs from it; UNKNOWN where there is none."""
    if not _is_known(where):
        return os.environ.get(SHIPPED, UNKNOWN)
    return _git(where, "rev-parse", "HEAD").strip() + (
        DIRTY if _git(where, "status", "--porcelain", "--untracked-files=no") or _untracked(where) else ""
    )


def patch(where: Path) -> str:
    """What turns the commit into the tree, for `git apply`: changed files, and new ones of KINDS; "" where clean.

    Bytes that are no UTF-8 are surrogates. A patch of more than MOST characters says in its place which files differ:
    a part of it could not be applied.
    """
    if not _is_known(where):
        packed = base64.b64decode(os.environ.get(SHIPPED_PATCH, ""))
        return zlib.decompress(packed).decode(errors="surrogateescape") if packed else ""
    whole = _git(where, *DIFF, "HEAD")
    root = Path(_git(where, "rev-parse", "--show-toplevel").strip() or where)
    for name in _untracked(where):
        whole += _git(root, *DIFF, "--no-index", "--", "/dev/null", name)
    return whole if len(whole) <= MOST else _differing(where, f"{len(whole)} characters, more than {MOST}")


def _differing(where: Path, length: str) -> str:
    changed = _git(where, "diff", "--name-only", "--no-relative", "-z", "HEAD").split("\0")
    names = [name for name in (*changed, *_untracked(where)) if name][:MOST_NAMES]
    return f"The patch has {length}, and is left out. These differ:\n" + "\n".join(
        (*names, *(["…"] if len(names) == MOST_NAMES else []), "")
    )


def shipped(where: Path) -> dict[str, str]:
    """What a checkout needs in its environment, where it has no repository, to say the same commit and patch.

    A patch that is too long for that says in its place which files differ, as in `patch`.
    """
    found = {SHIPPED: commit(where)}
    if found[SHIPPED].endswith(DIRTY):
        packed = _packed(patch(where))
        if len(packed) > MOST_SHIPPED:
            packed = _packed(_differing(where, f"{len(packed)} characters when compressed, more than {MOST_SHIPPED}"))
        found[SHIPPED_PATCH] = packed
    return found


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(errors="surrogateescape"), 9)).decode()


def name_of(patch: str) -> str:
    """A file name for a patch, which another one does not have."""
    return f"git-{hashlib.sha256(patch.encode(errors='surrogateescape')).hexdigest()[:12]}.patch"


def _is_known(where: Path) -> bool:
    """Whether a repository holds it, and not only some folder above, which ignores it."""
    return bool(_git(where, "rev-parse", "HEAD").strip() and _git(where, "ls-files", "--", "."))


def _untracked(where: Path) -> list[str]:
    root = _git(where, "rev-parse", "--show-toplevel").strip()
    listed = _git(Path(root), "ls-files", "--others", "--exclude-standard", "-z", "--", *KINDS) if root else ""
    return sorted(name for name in listed.split("\0") if name)


def _git(where: Path, *words: str) -> str:
    """What git says; "" where it fails or is not there (`diff --no-index` says by its code that there is something)."""
    try:
        found = subprocess.run(["git", *words], cwd=where, capture_output=True, check=False)
    except OSError:
        return ""
    return found.stdout.decode(errors="surrogateescape")
