"""What `fetch` brings home of an experiment, and that it is of use there."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from chromium import PROGRAM, browsing, watched
from planted_experiment import EXPERIMENT, plant
from report_page import Page
from restorable import NAME, frames_of, restore, write

from analysis.report import write_report
from dehazing.data.archive import load_series
from dehazing.data.vendor import read_file
from dehazing.pipeline.store import POINTER, Store, open_store
from studies import fetching
from studies.__main__ import main
from studies.contents import contents_of
from studies.fetching import MARK, bring, told
from tests import ssh_here

needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="needs rsync")
FINGERPRINTS = {kind: {"1": f"{kind}/{1:016x}", "2": f"{kind}/{2:016x}"} for kind in ("unet", "iterative")}


def made(root: Path, store: Store | None = None) -> Path:
    """A results folder with a confirmed experiment of two seeds, and a stage that only its search made."""
    store = store or Store(root)
    for kind, by_seed in FINGERPRINTS.items():
        for seed, address in by_seed.items():
            store.publish(address, {"weights": f"{kind} {seed}".encode(), "deep/table.csv": b"a,b"})
    store.publish("series/aa", {"series.json": b"{}"})
    store.publish("unet/00000000000000ff", {"weights": b"of a trial"})
    report = root / "mine-smoke" / "report"
    report.mkdir(parents=True)
    (report / "index.html").write_text("<a href='gap.csv'>")
    (report / "gap.csv").write_text("variant,gap\n")
    confirmation = {"seeds": [1, 2], "dataset": "aa", "iterative": FINGERPRINTS["iterative"]}
    confirmation["stages"] = {"unet": FINGERPRINTS["unet"]}
    (root / "mine-smoke" / "confirm.json").write_text(json.dumps(confirmation))
    (root / "mine-smoke" / "tracked.json").write_text("{}")
    return root


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def fetch(root: Path, to: Path, *words: str) -> int:
    return main(["fetch", "--storage", str(root), "--to", str(to), *words])


@needs_rsync
def test_report_tables_and_the_first_seed_s_weights_come_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, to = made(tmp_path / "there"), tmp_path / "home" / "results"
    assert fetch(root, to) == 0
    said = capsys.readouterr().out
    assert f"report   {to}/mine-smoke/report/index.html" in said and "10 files" in said
    store = Store(to)
    assert set(store.addresses()) == {"series/aa", "unet/0000000000000001", *FINGERPRINTS["iterative"].values()}
    assert store.read("unet/0000000000000001", "weights") == b"unet 1"
    assert {name for name in files(to) if not name.startswith("stages/")} == {
        f"mine-smoke/{name}" for name in ("confirm.json", "fetched.json", "report/index.html", "report/gap.csv")
    }
    for address in store.addresses():
        store.folder(address)
    assert fetch(root, to, "--every-seed") == 0
    assert "unet/0000000000000002" in store.addresses() and "unet/00000000000000ff" not in store.addresses()


@needs_rsync
def test_a_second_fetch_brings_what_is_new_and_leaves_the_rest(tmp_path: Path) -> None:
    root, to = made(tmp_path / "there"), tmp_path / "home"
    assert fetch(root, to) == 0
    before = {name: (to / name).stat().st_ino for name in files(to)}
    (root / "mine-smoke" / "report" / "gap.csv").write_text("variant,gap\nunet,0\n")
    assert fetch(root, to) == 0
    changed = {name for name in files(to) if (to / name).stat().st_ino != before[name]}
    assert changed == {"mine-smoke/report/gap.csv"}


@needs_rsync
def test_a_stage_that_was_cut_off_on_its_way_is_not_taken_for_whole(tmp_path: Path) -> None:
    root, to = made(tmp_path / "there"), tmp_path / "home"
    contents = contents_of(root, "mine-smoke")
    to.mkdir()
    fetching.copy(contents.store, contents.stages, to, None)
    assert Store(to).addresses() == []
    bring(contents, to, None)
    assert len(Store(to).addresses()) == 4


@needs_rsync
def test_what_lies_in_an_object_store_comes_home_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "objects").mkdir()
    place = (tmp_path / "objects").as_uri()
    root = made(tmp_path / "there", open_store(place))
    (root / POINTER).write_text(place)
    shutil.rmtree(tmp_path / "cache")
    assert fetch(root, tmp_path / "home") == 0
    assert len(Store(tmp_path / "home").addresses()) == 4 and not (tmp_path / "home" / POINTER).exists()


@needs_rsync
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda root, to: (to / "mine-smoke").mkdir(parents=True), "but .* has one of its own"),
        (lambda root, to: fetch(made(root.with_name("other")), to), "but .* has the one of .*/other"),
        (lambda root, to: (to.mkdir(), (to / POINTER).write_text("s3://b/f")), "are in an object store"),
        (lambda root, to: (root / "mine-smoke" / "confirm.json").unlink(), "holds no confirmed experiment"),
        (lambda root, to: shutil.rmtree(root / "stages" / "unet"), "unet/0000000000000001 must be published"),
    ],
)
def test_what_would_be_mixed_up_or_is_not_there_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Any, says: str
) -> None:
    root, to = made(tmp_path / "there"), tmp_path / "home"
    spoil(root, to)
    before = files(tmp_path)
    capsys.readouterr()
    assert fetch(root, to) == 2
    error = capsys.readouterr().err
    assert re.search(says, error), error
    assert error.count("\n") == 1 and files(tmp_path) == before


def test_a_folder_of_this_machine_is_no_folder_of_the_cluster_s() -> None:
    with pytest.raises(ValueError, match="--storage must be the folder that submit was given, an absolute path"):
        fetching._asked(Path("cluster.yaml"), argparse.Namespace(storage=Path("results")))


def test_the_head_s_list_is_found_in_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = made(tmp_path / "there")
    assert main(["fetch", "--storage", str(root), "--list"]) == 0
    said = capsys.readouterr().out
    assert told(f"a warning\n{said}another\n") == contents_of(root, "mine-smoke")
    with pytest.raises(ValueError, match="The head must tell what there is to fetch, but says: so what"):
        told("so what")
    assert said.startswith(MARK)


@pytest.mark.slow
@pytest.mark.skipif(bool(ssh_here.why_not()), reason=ssh_here.why_not())
def test_it_comes_over_ssh_as_it_comes_from_a_folder(tmp_path: Path) -> None:
    root, to = made(tmp_path / "there"), tmp_path / "at home"
    to.mkdir()
    head = ssh_here.head_here(tmp_path)
    bring(contents_of(root, "mine-smoke"), to, head)
    assert fetch(root, tmp_path / "beside") == 0
    assert files(to) == files(tmp_path / "beside") - {"mine-smoke/fetched.json"}
    with pytest.raises(ValueError, match=r"must be copied to .*at home, but rsync: .*No such file"):
        fetching.copy(str(root), ["gone"], to, head)


@pytest.mark.slow
@needs_rsync
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
def test_every_link_of_a_fetched_report_leads_somewhere(tmp_path: Path) -> None:
    root, to = tmp_path / "there", tmp_path / "home"
    plant(root, T=2, num_fields=4)
    write_report(root, EXPERIMENT)
    for seed in (101, 102):
        Store(root).publish(f"unet/{seed:016x}", {"weights": b""})
    assert fetch(root, to) == 0
    shutil.rmtree(root)
    path = to / EXPERIMENT / "report" / "index.html"
    links = {link for link in Page(path.read_text(encoding="utf-8")).links if not link.startswith(("data:", "#"))}
    assert len(links) > 10 and all((path.parent / link).exists() for link in links), links
    with browsing() as browser:
        page = browser.new_page()
        said, asked = watched(page)
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        assert said == [] and [one for one in asked if not one.startswith("data:")] == [path.as_uri()]
        named = page.evaluate("[...document.querySelectorAll('a[href]')].map((one) => one.href)")
        inside = {one for one in named if "#" in one}
        assert inside and page.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].every((one) => document.querySelector(one.hash))"
        )
        assert {one for one in named if not one.startswith("file:")} == set()


@pytest.mark.slow
@needs_rsync
@pytest.mark.parametrize("model", ["unet", "combine_z0_first"])
def test_a_fetched_model_restores_as_it_did_there(model: str, restorable: Path, tmp_path: Path) -> None:
    assert fetch(restorable, tmp_path / "home") == 0
    frame = frames_of(load_series(Store(restorable).folder("series/tiny")), 2)[0]
    image = write(tmp_path / "a.ome.tif", frame)
    words = [image, "--model", model, "--level", 2, "--experiment", NAME]
    assert restore(restorable, tmp_path / "one", *words) == restore(tmp_path / "home", tmp_path / "other", *words) == 0
    one, other = (read_file(tmp_path / name / "a.ome.tif").values for name in ("one", "other"))
    assert (one == other).all()
