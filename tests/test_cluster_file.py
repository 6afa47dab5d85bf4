"""The files for `ray up`: both are right, and a mistake in one is found before anything is started."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.utils import canonicalize_name

from studies.__main__ import main
from studies.cluster_file import check

ROOT = Path(__file__).parents[1]
FILES = ("cluster.yaml", "cluster.local.yaml")
SCRIPTS = sorted([*ROOT.glob("cluster/*.sh"), *ROOT.glob("docs/*.sh")])
AWS, LOCAL = (yaml.safe_load((ROOT / name).read_text()) for name in FILES)


@pytest.fixture(autouse=True)
def at_home_with_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As where `ray up` is called: in the checkout, with a token in the home folder."""
    token = tmp_path / "home" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.touch(mode=0o600)
    token.write_text("0123")
    (tmp_path / "home" / ".ssh").mkdir()
    (tmp_path / "home" / ".ssh" / "id_ed25519").touch(mode=0o600)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(ROOT)
    return token


def written(config: dict[str, Any], folder: Path) -> Path:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def node(config: dict[str, Any], name: str = "gpu_spot") -> dict[str, Any]:
    found: dict[str, Any] = config["available_node_types"][name]["node_config"]
    return found


def swap(config: dict[str, Any], key: str, old: str, new: str) -> None:
    """Replace a text in the commands below a key; it must be there."""
    assert any(old in command for command in config[key]), old
    config[key] = [command.replace(old, new) for command in config[key]]


@pytest.mark.parametrize("name", FILES)
def test_the_shipped_files_are_right(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-cluster", name]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.startswith(f"{name} is fine: keys and values (Ray ") and out.count("\n") == 4
    assert "to change:   CHANGE-ME still stands in " in out
    assert f"start it:    {'RAY_UP_enable_autoscaler_v2=0 ' * ('local' in name)}ray up {name}\n" in out


MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a wrong key": (
        lambda c: c.update(max_wrokers=c.pop("max_workers")),
        "unknown key `max_wrokers`; the nearest valid key is `max_workers`",
    ),
    "a typo in provider": (
        lambda c: c["provider"].update(cache_stoped_nodes=c["provider"].pop("cache_stopped_nodes")),
        "unknown key `provider.cache_stoped_nodes`; the nearest valid key is `cache_stopped_nodes`",
    ),
    "a typo in node_config": (
        lambda c: node(c).update(InstancType=node(c).pop("InstanceType")),
        "`available_node_types.gpu_spot.node_config` has an unknown key `InstancType`; "
        "the nearest valid key is `InstanceType`",
    ),
    "an impossible instance type": (
        lambda c: node(c).update(InstanceType="g5.xlrage"),
        "node_config.InstanceType` must be a type that AWS has, but is 'g5.xlrage' (nearest: g5.xlarge)",
    ),
    "no region": (lambda c: c["provider"].pop("region"), "`provider.region` must name a region of AWS, but is missing"),
    "an unpinned version": (
        lambda c: swap(c, "setup_commands", '"ray[default]==2.60.0"', '"ray[default]"'),
        "ray must be pinned (ray==2.60.0), but is installed as `ray[default]`",
    ),
    "an open dashboard": (
        lambda c: swap(c, "head_start_ray_commands", "--dashboard-host=127.0.0.1", "--dashboard-host 0.0.0.0"),
        "must have --dashboard-host=127.0.0.1, which is reached by a tunnel, but it is 0.0.0.0",
    ),
    "no profile": (
        lambda c: node(c, "gpu_on_demand").pop("IamInstanceProfile"),
        "gpu_on_demand.node_config.IamInstanceProfile` must name the profile by which it reaches the bucket",
    ),
    "no token": (
        lambda c: c["file_mounts"].pop("~/.ray/auth_token"),
        "`file_mounts` must bring the token to ~/.ray/auth_token, but does not",
    ),
    "a missing mount source": (
        lambda c: c["file_mounts"].update({"~/data": "no/such/folder"}),
        "the source of `file_mounts.~/data` must exist, but no/such/folder does not",
    ),
    # besides the ten
    "a token that comes too late": (
        lambda c: swap(
            c,
            "worker_start_ray_commands",
            "ray start",
            "RAY_AUTH_MODE=disabled ray start",
        ),
        "`worker_start_ray_commands` must have RAY_AUTH_MODE=token before `ray start`, but it is disabled",
    ),
    "MLflow open to all": (
        lambda c: c["head_setup_commands"].append("MLFLOW_HOST=0.0.0.0 mlflow server"),
        "MLflow must listen on a private address",
    ),
    "MLflow open to all, briefly": (
        lambda c: c["head_setup_commands"].append("mlflow server -h 0.0.0.0"),
        "MLflow must listen on a private address",
    ),
    "a typo deep in node_config": (
        lambda c: node(c)["InstanceMarketOptions"]["SpotOptions"].update(MaxPrise="1"),
        "has an unknown key `MaxPrise` in InstanceMarketOptions.SpotOptions; the nearest valid key is `MaxPrice`",
    ),
    "a text for a number": (
        lambda c: c.update(idle_timeout_minutes="ten"),
        "`idle_timeout_minutes` must be of type number, but is 'ten'",
    ),
    "one command instead of a list": (
        lambda c: c.update(setup_commands="true"),
        "`setup_commands` must be of type array",
    ),
    "a number for a path": (
        lambda c: c["file_mounts"].update({"~/setup/cluster": 3}),
        "`file_mounts.~/setup/cluster` must be of type string, but is 3",
    ),
    "a provider that is none": (
        lambda c: c["provider"].update(type="awz"),
        "`provider.type` must be aws or local, but is 'awz'",
    ),
    "a region that is none": (
        lambda c: c["provider"].update(region="us-wset-2"),
        "must be a region of AWS, but is 'us-wset-2' (nearest: us-west-2)",
    ),
    "a zone of another region": (
        lambda c: c["provider"].update(region="eu-west-1"),
        "`provider.availability_zone` must lie in eu-west-1, but has us-west-2a",
    ),
    "machines that are only stopped": (
        lambda c: c["provider"].pop("cache_stopped_nodes"),
        "`provider.cache_stopped_nodes` must be false",
    ),
    "another open port": (
        lambda c: c["provider"].update(
            security_group={"IpPermissions": [{"IpProtocol": "tcp", "FromPort": 8265, "ToPort": 8265}]}
        ),
        "must open port 22 only",
    ),
    "a secret in the file": (
        lambda c: c["provider"].update(aws_credentials={"aws_secret_access_key": "x"}),
        "`provider.aws_credentials` must not be there",
    ),
    "trials on the head": (
        lambda c: c["available_node_types"]["head"].update(resources={}),
        "`available_node_types.head.resources.CPU` must be 0",
    ),
    "a head that may be taken away": (
        lambda c: node(c, "head").update(InstanceMarketOptions={"MarketType": "spot"}),
        "the head must be on demand",
    ),
    "another version": (
        lambda c: swap(c, "setup_commands", "ray[default]==2.60.0", "ray[default]==2.9.0"),
        "ray must be 2.60.0, as in constraints.txt, but is 2.9.0",
    ),
    "no constraints": (
        lambda c: swap(c, "setup_commands", "-c ~/setup/constraints.txt", ""),
        "must be pinned by `-c constraints.txt`, but is not",
    ),
    "other constraints": (
        lambda c: c["file_mounts"].update({"~/setup/constraints.txt": "pyproject.toml"}),
        "must be the checkout's constraints.txt, but pyproject.toml is another file",
    ),
    "a Python that is not exact": (
        lambda c: swap(c, "setup_commands", "--python 3.11.7", "--python 3.11"),
        "Python must be pinned to a full version such as 3.11.7, but is 3.11",
    ),
    "Ray's own set-up, a nightly wheel": (
        lambda c: c.pop("setup_commands"),
        "ray must be pinned (ray==2.60.0), but is installed as `ray[default] @ https://",
    ),
    "a worker that asks for no token": (
        lambda c: swap(c, "worker_start_ray_commands", "RAY_AUTH_MODE=token", ""),
        "`worker_start_ray_commands` must have RAY_AUTH_MODE=token before `ray start`, but it is not set",
    ),
    "an open MLflow": (
        lambda c: c["head_setup_commands"].append("mlflow server --host 0.0.0.0 --port 5000 &"),
        "MLflow must listen on a private address",
    ),
    "a token in the checkout": (
        lambda c: c["file_mounts"].update({"~/.ray/auth_token": "LICENSE"}),
        "the token must lie outside the checkout, which is shipped, but is LICENSE",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_by_one_sentence(mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = copy.deepcopy(AWS)
    change, sentence = MISTAKES[mistake]
    change(config)
    path = written(config, tmp_path)
    assert main(["check-cluster", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(str(path)) and err.count("\n") == 1
    assert sentence in err, err


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c["provider"].pop("head_ip"), "`provider.head_ip` must say where the machines are, but is missing"),
        (lambda c: c["provider"].update(worker_ip=["192.0.2.13"]), "nearest valid key is `worker_ips`"),
        (lambda c: c["provider"]["worker_ips"].append("192.0.2.10"), "192.0.2.10 stands there twice"),
        (
            lambda c: c["provider"]["worker_ips"].append("192.0.2.13"),
            "`max_workers` must be 3, as worker_ips, but is 2",
        ),
        (lambda c: c.update(available_node_types=AWS["available_node_types"]), "must not be there with the local"),
        (lambda c: c["auth"].update(ssh_private_key="~/.ssh/none"), "must be a file, but ~/.ssh/none is none"),
        (lambda c: c["auth"].pop("ssh_user"), "`auth.ssh_user` must say who logs in on the machines, but is missing"),
        (
            lambda c: swap(
                c, "worker_start_ray_commands", "firewall.sh 192.0.2.10 192.0.2.11", "firewall.sh 192.0.2.10"
            ),
            "firewall.sh must let every machine in, but 192.0.2.11 is missing in `worker_start_ray_commands`",
        ),
        (
            lambda c: swap(c, "head_setup_commands", "firewall.sh 192.0.2.10 192.0.2.11", "firewall.sh 192.0.2.10"),
            "firewall.sh must let every machine in, but 192.0.2.11 is missing in `head_setup_commands`",
        ),
        (lambda c: c["provider"].update(head_ip="head"), "IP addresses, but 'head' does not appear to be"),
        (lambda c: c.pop("worker_start_ray_commands"), "RAY_AUTH_MODE=token before `ray start`, but it is not set"),
    ],
)
def test_a_mistake_about_own_machines_is_refused(
    change: Callable[[dict[str, Any]], object], sentence: str, tmp_path: Path
) -> None:
    config = copy.deepcopy(LOCAL)
    change(config)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        check(written(config, tmp_path))


def test_machines_that_are_set_up_already_need_no_install(tmp_path: Path) -> None:
    check(written(LOCAL | {"setup_commands": [], "head_setup_commands": []}, tmp_path))


def test_the_firewall_may_let_a_network_in(tmp_path: Path) -> None:
    config = copy.deepcopy(LOCAL)
    swap(config, "head_start_ray_commands", "192.0.2.10 192.0.2.11 192.0.2.12", "192.0.2.8/29")
    check(written(config, tmp_path))


def test_ports_that_nothing_closes_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = copy.deepcopy(LOCAL)
    commands = config["worker_start_ray_commands"]
    commands[:] = [command for command in commands if "firewall.sh" not in command]
    assert main(["check-cluster", str(written(config, tmp_path))]) == 0
    said = "open ports:  worker_start_ray_commands without firewall.sh: close the study's ports to other machines"
    assert said in capsys.readouterr().out
    assert main(["check-cluster", str(written(LOCAL, tmp_path))]) == 0
    assert "open ports" not in capsys.readouterr().out


def test_a_token_that_others_may_read_is_refused(at_home_with_a_token: Path) -> None:
    at_home_with_a_token.chmod(0o640)
    with pytest.raises(ValueError, match=r"must be yours alone \(chmod 600 ~/.ray/auth_token\)"):
        check(Path("cluster.yaml"))


def test_without_a_token_it_says_how_to_make_one(at_home_with_a_token: Path) -> None:
    at_home_with_a_token.unlink()
    with pytest.raises(ValueError, match=r"`ray get-auth-token --generate` makes it"):
        check(Path("cluster.yaml"))


@pytest.mark.parametrize("text", ["provider: [", "", "- 1"])
def test_a_file_that_is_no_mapping_gets_one_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text(text)
    assert main(["check-cluster", str(tmp_path / "own.yaml")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", FILES)
def test_the_versions_are_those_of_the_constraints(name: str) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line}
    found = dict(re.findall(r"([\w.-]+)(?:\[\w+\])?==([\w.]+)", (ROOT / name).read_text()))
    assert {"ray", "uv"} <= set(found)
    assert found == {package: pinned[canonicalize_name(package)] for package in found}


@pytest.mark.parametrize(
    "path", [*(ROOT / name for name in FILES), *sorted(ROOT.glob("cluster/*"))], ids=lambda p: p.name
)
def test_no_file_holds_a_secret_or_an_account(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"\b\d{12}\b|AKIA|ASIA|aws_secret|BEGIN [A-Z ]*PRIVATE KEY|\b[0-9a-f]{32,}\b", text)
    assert not re.search(r"\b(ami|vol|sg|subnet|vpc)-[0-9a-f]{8,}\b", text), "an address of somebody's own"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_the_scripts_are_bash(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "set -euo pipefail" in path.read_text()


@pytest.mark.parametrize("config", [AWS, LOCAL], ids=FILES)
def test_the_commands_are_bash(config: dict[str, Any]) -> None:
    commands = [command for key in config if key.endswith("_commands") for command in config[key]]
    done = subprocess.run(["bash", "-n"], input="\n".join(commands), capture_output=True, text=True, check=False)
    assert len(commands) > 8 and done.returncode == 0, done.stderr


def test_the_workers_may_do_no_more_than_use_the_bucket() -> None:
    head, worker = (json.loads((ROOT / "cluster" / f"{who}-policy.json").read_text()) for who in ("head", "worker"))
    actions = [action for statement in worker["Statement"] for action in statement["Action"]]
    assert actions and all(action.startswith("s3:") for action in actions)
    buckets = {s["Sid"]: s["Resource"] for s in worker["Statement"]}
    assert buckets.items() <= {s["Sid"]: s["Resource"] for s in head["Statement"]}.items()
    assert all("CHANGE-ME-study" in resource for resource in buckets.values())
