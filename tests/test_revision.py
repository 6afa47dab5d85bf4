"""Which code runs: the commit, and a patch that turns it into the tree."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from studies import revision


def git(where: Path, *words: str, stdin: str | None = None) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    done = subprocess.run(
        ["git", *identity, *words], cwd=where, input=stdin, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    package = tmp_path / "repository" / "package"
    package.mkdir(parents=True)
    git(package.parent, "init", "--quiet")
    (package / "loop.py").write_text("T = 4\n")
    (package.parent / ".gitignore").write_text("ignored*\n")
    git(package, "add", ".", "..")
    git(package, "commit", "--quiet", "--message", "Begin")
    git(package, "tag", "v1")
    return package


def test_a_clean_tree_is_its_commit_whatever_is_tagged(checkout: Path) -> None:
    (checkout / "notes.md").write_text("of no matter to what runs")
    (checkout / "ignored.py").write_text("")
    assert revision.commit(checkout) == git(checkout, "rev-parse", "HEAD")
    assert revision.patch(checkout) == ""


def test_the_patch_turns_the_commit_into_the_tree_with_its_new_files(checkout: Path, tmp_path: Path) -> None:
    (checkout / "loop.py").write_text("T = 6\n")
    (checkout / "own study.py").write_text("T = 8\n")
    (checkout.parent / "own.yaml").write_text("kind: unet\n")
    assert revision.commit(checkout) == git(checkout, "rev-parse", "HEAD") + "-dirty"
    again = tmp_path / "again"
    git(tmp_path, "clone", "--quiet", str(checkout.parent), str(again))
    git(again, "apply", stdin=revision.patch(checkout))
    assert (again / "package" / "loop.py").read_text() == "T = 6\n"
    assert (again / "package" / "own study.py").read_text() == "T = 8\n"
    assert (again / "own.yaml").read_text() == "kind: unet\n"


def test_the_patch_holds_files_of_any_bytes_whatever_somebody_has_set_for_differences(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "figure.png").write_bytes(bytes(range(256)) * 8)
    (checkout / "latin.py").write_bytes("# Verzögerung\n".encode("latin-1"))
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "Draw")
    for name, value in (("diff.noprefix", "true"), ("diff.relative", "true"), ("color.ui", "always")):
        git(checkout, "config", name, value)
    again = tmp_path / "again"
    git(tmp_path, "clone", "--quiet", str(checkout.parent), str(again))
    changed = {
        "package/figure.png": bytes(reversed(range(256))) * 9,
        "package/latin.py": "# Verspätung\n".encode("latin-1"),
        ".gitignore": b"other*\n",  # above the package
        "own.yaml": b"kind: unet\n",
    }
    for name, content in changed.items():
        (checkout.parent / name).write_bytes(content)
    (tmp_path / "found.patch").write_bytes(revision.patch(checkout).encode(errors="surrogateescape"))
    git(again, "apply", str(tmp_path / "found.patch"))
    assert {name: (again / name).read_bytes() for name in changed} == changed


def test_a_patch_that_is_too_long_is_left_out_and_says_what_differs(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "loop.py").write_text("T = 6\n" * 100)
    (checkout / "own study.py").write_text("T = 8\n")
    whole = revision.patch(checkout)
    monkeypatch.setattr(revision, "MOST", len(whole))
    assert revision.patch(checkout) == whole
    monkeypatch.setattr(revision, "MOST", len(whole) - 1)
    first, *names = revision.patch(checkout).splitlines()
    assert first.startswith(f"The patch has {len(whole)} characters") and "left out" in first
    assert names == ["package/loop.py", "package/own study.py"]
    assert revision.name_of(whole) != revision.name_of(revision.patch(checkout))


def test_a_new_file_alone_makes_the_tree_differ(checkout: Path) -> None:
    (checkout / "own.py").write_text("T = 8\n")
    assert revision.commit(checkout).endswith("-dirty") and "own.py" in revision.patch(checkout)


def test_there_is_no_commit_outside_a_repository_or_where_it_does_not_hold_the_package(
    checkout: Path, tmp_path: Path
) -> None:
    installed = checkout.parent / "ignored-venv"
    installed.mkdir()
    assert revision.commit(installed) == revision.UNKNOWN
    outside = tmp_path / "outside"
    outside.mkdir()
    assert revision.commit(outside) == revision.UNKNOWN and revision.patch(outside) == ""


def test_a_checkout_that_goes_without_its_repository_still_says_what_it_is(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "loop.py").write_bytes(b"T = 6  # \xff\n")
    commit, patch = revision.commit(checkout), revision.patch(checkout)
    for name, value in revision.shipped(checkout).items():
        monkeypatch.setenv(name, value)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert commit.endswith("-dirty") and (revision.commit(elsewhere), revision.patch(elsewhere)) == (commit, patch)


def test_a_clean_checkout_goes_without_a_patch(checkout: Path) -> None:
    assert revision.shipped(checkout) == {"DEHAZING_COMMIT": git(checkout, "rev-parse", "HEAD")}


def test_of_a_patch_that_is_too_long_to_go_along_the_names_do(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "noise.py").write_text(random.Random(0).randbytes(50_000).hex())
    environment = revision.shipped(checkout)
    assert len(environment["DEHAZING_PATCH"]) < 2**15
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert "more than 32768, and is left out. These differ:\npackage/noise.py\n" in revision.patch(tmp_path)
