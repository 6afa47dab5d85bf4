"""A series of this machine's files is put into a cluster's storage once, whole, and found there without its files."""

from __future__ import annotations

import argparse
import json
import random
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
from studies.at_head import run_at_head
from studies.shipping import is_to_be_shipped, ship
from studies.submitting import passed_on

SSHD = "/usr/sbin/sshd"


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
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster's file whose head is this machine, reached by a real SSH server that needs no port."""
    # of no machine, and another one each time, as SSH keeps connections for a while
    head = f"192.0.2.{random.randrange(1, 255)}"
    for needed in (SSHD, "ssh-keygen", "rsync"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    if Path("/run").stat().st_uid == 0 and not Path("/run/sshd").is_dir():
        try:
            Path("/run/sshd").mkdir()
        except PermissionError:
            pytest.skip("sshd needs /run/sshd, which only root can make")
    for name in ("key", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    (tmp_path / "sshd").write_text(
        f"HostKey {tmp_path / 'host'}\nAuthorizedKeysFile {tmp_path / 'key.pub'}\nStrictModes no\nUsePAM no\n"
        "PermitRootLogin yes\nPasswordAuthentication no\nLogLevel ERROR\n"
    )
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "ray"))
    state = tmp_path / "ray" / "ray" / "cluster-shipping.state"  # what `ray up` leaves
    state.parent.mkdir(parents=True)
    tags = {"ray-node-type": "head", "ray-node-status": "up-to-date"}
    state.write_text(json.dumps({head: {"tags": tags, "state": "running"}}))
    file = tmp_path / "cluster.yaml"
    auth = {
        "ssh_user": Path.home().owner(),
        "ssh_private_key": str(tmp_path / "key"),
        "ssh_proxy_command": f"{SSHD} -i -f {tmp_path / 'sshd'}",
    }
    provider = {"type": "local", "head_ip": head, "worker_ips": []}
    file.write_text(yaml.safe_dump({"cluster_name": "shipping", "max_workers": 0, "provider": provider, "auth": auth}))
    return file


def is_as_made_here(store: Store, name: str, dataset: Path, tmp_path: Path) -> None:
    alone = Store(tmp_path / "alone")
    assert ensure_series(read_dataset(dataset), alone) == name
    here, there = (load_series(one.folder(f"series/{name}")) for one in (alone, store))
    assert here.notes == there.notes and here.pinholes == there.pinholes
    assert (here.x("train") == there.x("train")).all()


@pytest.mark.slow
def test_a_series_is_sent_to_the_head_once_and_found_there_without_its_files(
    dataset: Path, cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = tmp_path / "shared" / "results"
    there = ship(asked(dataset, storage), cluster)
    said = capsys.readouterr().out
    name = series_fingerprint(read_dataset(dataset))
    assert f"series  {name} is made here" in said and f"{name} was sent to {storage}" in said
    assert there == PurePosixPath(storage) / "datasets" / name / "mine.yaml"
    assert not (storage / "sending").exists()
    is_as_made_here(Store(storage), name, dataset, tmp_path)
    config = read_dataset(Path(there))
    assert isinstance(config, PreparedConfig) and digest(config) == digest(read_dataset(dataset))
    assert ensure_series(config, Store(storage)) == name == series_fingerprint(config)
    again = ship(asked(dataset, storage), cluster)
    assert again == there and f"is in {storage} already: nothing was sent" in capsys.readouterr().out


@pytest.mark.slow
def test_what_the_head_says_against_it_is_one_sentence(dataset: Path, cluster: Path, tmp_path: Path) -> None:
    server = (tmp_path / "sshd").read_text()
    (tmp_path / "sshd").write_text("HostKey /nowhere\n")
    with pytest.raises(ValueError, match="must do what it is asked, but `ray exec` ends with: ") as unreached:
        run_at_head(cluster, "echo", [])
    (tmp_path / "sshd").write_text(server)
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"must do what it is asked, but `ray exec` ends with: .*Not a directory"
    ) as no:
        ship(asked(dataset, tmp_path / "file" / "results"), cluster)
    for error in (unreached, no):
        assert "base64" not in str(error.value) and "\n" not in str(error.value), str(error.value)
    assert run_at_head(cluster, 'echo "::$1 $2"; echo aside', ["a b", "c\n'd"]) == ["a b c"], "words are words"


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
    assert received(tmp_path, "ask", name).stdout.startswith("::free ")
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
    assert received(tmp_path, "publish", name).stdout == "::there\n"
    store = Store(tmp_path / "results")
    assert store.addresses() == [f"series/{name}"] and store.folder(f"series/{name}") == left
    assert sorted(path.name for path in left.iterdir()) == [
        "config.json",
        "manifest.json",
        "series.json",
        "series.safetensors",
    ]
    assert (tmp_path / "results" / "datasets" / "a.yaml").read_text() == "kind: x\n"
    assert received(tmp_path, "publish", name).stdout == "::there\n", "a second one changes nothing"


def test_a_results_folder_whose_stages_are_elsewhere_says_so(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "store.url").write_text("s3://bucket/folder\n")
    assert received(tmp_path, "ask").stdout == "::elsewhere\n"


@pytest.mark.parametrize("scheme", ["file", pytest.param("s3", marks=pytest.mark.slow)])
def test_into_an_object_store_it_goes_from_here_and_once(
    dataset: Path,
    tmp_path: Path,
    scheme: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = (tmp_path / "objects").as_uri()
    url = file if scheme == "file" else request.getfixturevalue("s3").format(folder=tmp_path.name)
    asides: list[list[str]] = []
    monkeypatch.setattr(shipping, "run_at_head", lambda file, script, words: asides.append(words) or ["there"])
    arguments = asked(dataset, tmp_path / "storage", "--store", url)
    ship(arguments, tmp_path / "cluster.yaml")
    name = series_fingerprint(read_dataset(dataset))
    assert f"{name} was sent to" in capsys.readouterr().out
    is_as_made_here(ObjectStore(url, tmp_path / "worker"), name, dataset, tmp_path)
    ship(arguments, tmp_path / "cluster.yaml")
    assert "already: nothing was sent" in capsys.readouterr().out
    step, root, series, _, path, text = asides[-1]
    assert step == "note" and root == str(tmp_path / "storage") and series == name and len(asides) == 2
    assert path.endswith(f"datasets/{name}/mine.yaml") and yaml.safe_load(text)["series"] == name


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
    assert received(tmp_path, "publish", name).stdout == "::there\n"
    (tmp_path / "results" / "stages" / "series" / name / "series.json").write_text("{}")
    with pytest.raises(Damaged, match="delete the folder"):
        Store(tmp_path / "results").folder(f"series/{name}")
