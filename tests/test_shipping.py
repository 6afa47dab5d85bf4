"""A series of this machine's files is put into a cluster's storage once, whole, and found there without its files."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import tifffile
import yaml

from dehazing.data.archive import load_series
from dehazing.data.dataset import digest, read_dataset, with_scale
from dehazing.data.prepared import PreparedConfig
from dehazing.pipeline.object_store import ObjectStore
from dehazing.pipeline.series import ensure_series, series_fingerprint
from dehazing.pipeline.store import Damaged, Store
from studies import asking, shipping
from studies.__main__ import main
from studies.head import Head
from studies.sending import send
from studies.shipping import is_to_be_shipped, ship
from studies.submitting import passed_on
from tests import ssh_here


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The YAML of a series of three files, on a machine with a cache of its own."""
    monkeypatch.setenv("DEHAZING_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "laptop"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for fov in range(3):
        frames = rng.integers(90, 1000, (3, 64, 64)).astype(np.uint16)
        tifffile.imwrite(folder / f"cell_{fov}.tif", frames, photometric="minisblack")
    text = {"kind": "pinhole_series", "path": "cell_*.tif", "axes": "CYX", "pinholes": [1, 4, 20], "register": False}
    (folder / "mine.yaml").write_text(yaml.safe_dump(text))
    return folder / "mine.yaml"


def asked(dataset: Path, storage: Path, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    asking.add_names(parser)
    asking.add_investigation(parser)
    return parser.parse_args(["--dataset", str(dataset), "--storage", str(storage), "--scale", "smoke", *words])


@pytest.fixture
def head(tmp_path: Path) -> Head:
    """This machine, reached by a real SSH server."""
    reason = ssh_here.why_not()
    if reason:
        pytest.skip(reason)
    (tmp_path / "ssh").mkdir()
    return ssh_here.head_here(tmp_path / "ssh")


def is_as_made_here(store: Store, name: str, dataset: Path, tmp_path: Path) -> None:
    alone = Store(tmp_path / "alone")
    assert ensure_series(read_dataset(dataset), alone) == name
    here, there = (load_series(one.folder(f"series/{name}")) for one in (alone, store))
    assert here.notes == there.notes and here.pinholes == there.pinholes
    assert (here.x("train") == there.x("train")).all()


@pytest.mark.slow
def test_a_series_is_sent_to_the_head_once_and_found_there_without_its_files(
    dataset: Path, head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "shared" / "results"
    there = ship(asked(dataset, storage), head)
    said = capsys.readouterr().out
    name = series_fingerprint(read_dataset(dataset))
    assert f"series  {name} is made here" in said and f"{name} was sent to {storage}" in said
    assert there == PurePosixPath(storage) / "datasets" / name / "mine.yaml"
    assert not (storage / "sending").exists()
    is_as_made_here(Store(storage), name, dataset, tmp_path)
    config = read_dataset(Path(there))
    assert isinstance(config, PreparedConfig) and digest(config) == digest(read_dataset(dataset))
    assert ensure_series(config, Store(storage)) == name == series_fingerprint(config)
    again = ship(asked(dataset, storage), head)
    assert again == there and f"is in {storage} already: nothing was sent" in capsys.readouterr().out


@pytest.mark.slow
def test_what_the_head_says_against_it_is_one_sentence(dataset: Path, head: Head, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"must do what it is asked by SSH, but .*Not a directory") as no:
        ship(asked(dataset, tmp_path / "file" / "results"), head)
    assert "\n" not in str(no.value)
    assert head.runs('echo aside; echo "$1 $2"', ["a b", "c\"d'"]) == "a b c\"d'", "words are words"
    (tmp_path / "ssh" / "sshd_config").write_text("HostKey /nowhere\n")
    with pytest.raises(ValueError, match="must do what it is asked by SSH, but ") as unreached:
        head.runs("echo", [])
    assert "\n" not in str(unreached.value)
    with pytest.raises(ValueError, match="must take what is sent, but ") as unsent:
        send(head, dataset.parent, str(tmp_path), lambda _: None)
    assert "\n" not in str(unsent.value)


def received(tmp_path: Path, step: str, name: str = "0" * 16) -> subprocess.CompletedProcess[str]:
    words = [
        step,
        str(tmp_path / "results"),
        name,
        "me",
        str(tmp_path / "results" / "datasets" / "a.yaml"),
        "kind: x\n",
    ]
    script = ["bash", "-c", shipping.RECEIVE.read_text(), "submit"]
    return subprocess.run([*script, *words], capture_output=True, text=True)


def sent(dataset: Path, tmp_path: Path) -> tuple[str, Path]:
    """A series as it lies on the head after it was sent."""
    local = Store(tmp_path / "local")
    name = ensure_series(read_dataset(dataset), local)
    assert received(tmp_path, "ask", name).stdout.startswith("free ")
    aside = tmp_path / "results" / "sending" / f"{name}-me"
    with shipping._listed(local.folder(f"series/{name}")) as outgoing:
        shutil.copytree(outgoing, aside, dirs_exist_ok=True)
    return name, aside


def test_what_arrived_damaged_is_not_published(dataset: Path, tmp_path: Path) -> None:
    name, aside = sent(dataset, tmp_path)
    content = bytearray((aside / "series.safetensors").read_bytes())
    content[-1] ^= 1
    (aside / "series.safetensors").write_bytes(content)
    done = received(tmp_path, "publish", name)
    assert done.returncode != 0 and "series.safetensors: FAILED" in done.stdout + done.stderr
    assert Store(tmp_path / "results").addresses() == [] and not (tmp_path / "results" / "datasets").exists()


def test_what_somebody_left_who_could_not_make_it_is_no_obstacle(dataset: Path, tmp_path: Path) -> None:
    name, _ = sent(dataset, tmp_path)
    left = tmp_path / "results" / "stages" / "series" / name
    left.mkdir(parents=True)
    (left / "LEASE-000001-released").write_text("")
    assert received(tmp_path, "publish", name).stdout == "there\n"
    store = Store(tmp_path / "results")
    assert store.addresses() == [f"series/{name}"] and store.folder(f"series/{name}") == left
    assert sorted(path.name for path in left.iterdir()) == [
        "config.json",
        "manifest.json",
        "series.json",
        "series.safetensors",
    ]
    assert (tmp_path / "results" / "datasets" / "a.yaml").read_text() == "kind: x\n"
    assert received(tmp_path, "publish", name).stdout == "there\n", "a second one changes nothing"


def test_a_results_folder_whose_stages_are_elsewhere_says_so(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "store.url").write_text("s3://bucket/folder\n")
    assert received(tmp_path, "ask").stdout == "elsewhere\n"


@pytest.mark.parametrize("scheme", ["file", pytest.param("s3", marks=pytest.mark.slow)])
def test_into_an_object_store_it_goes_from_here_and_once(
    dataset: Path,
    tmp_path: Path,
    scheme: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    head: Head,
) -> None:
    file = (tmp_path / "objects").as_uri()
    url = file if scheme == "file" else request.getfixturevalue("s3").format(folder=tmp_path.name)
    arguments = asked(dataset, tmp_path / "storage", "--store", url)
    there = ship(arguments, head)
    name = series_fingerprint(read_dataset(dataset))
    assert f"{name} was sent to" in capsys.readouterr().out
    is_as_made_here(ObjectStore(url, tmp_path / "worker"), name, dataset, tmp_path)
    assert ship(arguments, head) == there
    assert "already: nothing was sent" in capsys.readouterr().out
    assert there == PurePosixPath(tmp_path / "storage" / "datasets" / name / "mine.yaml")
    assert yaml.safe_load(Path(there).read_text())["series"] == name
    assert not Store(tmp_path / "storage").addresses(), "the bucket alone has it"


def test_settings_of_the_command_line_are_taken_up_where_the_series_is_made(dataset: Path, tmp_path: Path) -> None:
    arguments = asked(dataset, tmp_path, "--set", "dataset.clean=4")
    assert digest(asking.dataset_of(arguments)) != digest(asking.dataset_of(asked(dataset, tmp_path)))
    words = ["all", "--dataset", "mine.yaml", "--set", "dataset.clean=4", "--set", "hvae.num_trials=2", "--cluster=c"]
    there = PurePosixPath("/shared/datasets/0/mine.yaml")
    assert passed_on(words, there) == ["all", "--set", "hvae.num_trials=2", "--dataset", str(there)]
    assert passed_on(["--set=dataset.clean=4", "--dataset=mine.yaml", "all"], there) == ["all", "--dataset", str(there)]
    with pytest.raises(ValueError, match="no settings left, so `clean` must be given where it is made"):
        with_scale(PreparedConfig("0" * 16, "1" * 16), {"clean": 4})


def test_only_a_dataset_of_files_that_are_here_is_sent(dataset: Path, tmp_path: Path) -> None:
    assert is_to_be_shipped(dataset)
    assert not is_to_be_shipped(Path("/shared/mine.yaml")) and not is_to_be_shipped(asking.DATASET)
    (dataset.parent / "cell_0.tif").unlink()
    with pytest.raises(ValueError, match="must name at least one file"):
        (dataset.parent / "other.yaml").write_text("{kind: pinhole_series, path: 'other_*.tif'}")
        is_to_be_shipped(dataset.parent / "other.yaml")


def test_a_series_that_is_not_there_and_cannot_be_made_there_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"kind": "prepared", "series": "0" * 16, "digest": "1" * 16}))
    assert main(["run", "--scale", "smoke", "--dataset", str(path), "--storage", str(tmp_path / "results")]) == 2
    assert f"The series {'0' * 16} must be in {tmp_path / 'results'}, as the files" in capsys.readouterr().err
    path.write_text("{kind: prepared, series: abc, digest: 1}")
    with pytest.raises(ValueError, match="`digest` must be text"):
        read_dataset(path)


def test_a_manifest_that_lies_is_found_out_where_the_series_is_read(dataset: Path, tmp_path: Path) -> None:
    name, _ = sent(dataset, tmp_path)
    assert received(tmp_path, "publish", name).stdout == "there\n"
    (tmp_path / "results" / "stages" / "series" / name / "series.json").write_text("{}")
    with pytest.raises(Damaged, match="delete the folder"):
        Store(tmp_path / "results").folder(f"series/{name}")
