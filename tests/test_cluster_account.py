"""What `prepare-cluster` makes before the first `ray up`, in an account that moto plays in this process."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from studies import cluster_account
from studies.__main__ import main
from studies.cluster_account import _quotas
from studies.cluster_file import check

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What of the checkout is read, with the bucket's name put in; the account has nothing."""
    moto = pytest.importorskip("moto")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "cluster", copy / "cluster")
    for name in ("cluster.yaml", "cluster.local.yaml", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, copy)
    for path in (copy / "cluster.yaml", *(copy / "cluster").glob("*.json")):
        path.write_text(path.read_text().replace("CHANGE-ME-study", "our-study"))
    monkeypatch.setattr(cluster_account, "POLICIES", copy / "cluster")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(copy)
    with moto.mock_aws():
        yield copy


@pytest.mark.slow
def test_an_empty_account_gets_all_that_the_file_needs_and_once(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import boto3

    assert main(["prepare-cluster", "cluster.yaml"]) == 0
    first = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    made = ["token", "bucket", "volume", "profile", "profile", "role"]
    assert first[: len(made) + 1] == [*(["made", what] for what in made[:5]), ["found", "profile"], ["made", "role"]]
    token = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and len(token.read_text()) == 64

    s3, ec2, iam = (boto3.client(name, region_name="us-west-2") for name in ("s3", "ec2", "iam"))
    assert s3.get_bucket_location(Bucket="our-study")["LocationConstraint"] == "us-west-2"
    (volume,) = ec2.describe_volumes(Filters=[{"Name": "tag:study", "Values": ["dehazing"]}])["Volumes"]
    assert (volume["AvailabilityZone"], volume["VolumeType"], volume["Encrypted"]) == ("us-west-2a", "gp3", True)
    for who in ("head", "worker"):
        profile = iam.get_instance_profile(InstanceProfileName=f"study-{who}")["InstanceProfile"]
        assert [role["RoleName"] for role in profile["Roles"]] == [f"study-{who}"]
        policy = iam.get_role_policy(RoleName=f"study-{who}", PolicyName="study")["PolicyDocument"]
        assert policy == json.loads((checkout / "cluster" / f"{who}-policy.json").read_text())

    kept = token.read_text()
    assert main(["prepare-cluster", "cluster.yaml"]) == 0
    assert "made" not in capsys.readouterr().out and token.read_text() == kept
    assert len(ec2.describe_volumes(Filters=[{"Name": "tag:study", "Values": ["dehazing"]}])["Volumes"]) == 1


def test_two_volumes_of_one_study_are_refused_as_the_head_would(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import boto3

    assert main(["prepare-cluster", "cluster.yaml"]) == 0
    ec2 = boto3.client("ec2", region_name="us-west-2")
    tagged = [{"ResourceType": "volume", "Tags": [{"Key": "study", "Value": "dehazing"}]}]
    second = ec2.create_volume(AvailabilityZone="us-west-2a", Size=1, TagSpecifications=tagged)["VolumeId"]
    assert main(["prepare-cluster", "cluster.yaml"]) == 2
    assert "One volume in us-west-2a must have the tag study=dehazing" in (said := capsys.readouterr().err)
    assert second in said
    ec2.delete_volume(VolumeId=second)
    assert main(["prepare-cluster", "cluster.yaml"]) == 0


def test_a_bucket_without_a_name_is_refused_before_anything_is_asked(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "cluster.yaml", checkout)
    assert main(["prepare-cluster", "cluster.yaml"]) == 2
    assert "sed -i s/CHANGE-ME-study/NAME/ cluster.yaml cluster/*-policy.json" in capsys.readouterr().err


def test_policies_about_another_bucket_are_refused(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkout / "cluster" / "worker-policy.json"
    path.write_text(path.read_text().replace("our-study", "their-study"))
    assert main(["prepare-cluster", "cluster.yaml"]) == 2
    assert "worker-policy.json must be about the bucket our-study" in capsys.readouterr().err


def test_what_aws_refuses_is_one_sentence(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(checkout / "none"))
    assert main(["prepare-cluster", "cluster.yaml"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("allowed", "word"), [(16.0, "found"), (15.0, "MISSING")])
def test_a_quota_that_is_too_small_is_said(checkout: Path, allowed: float, word: str) -> None:
    (checkout.parent / ".ray").mkdir()
    (checkout.parent / ".ray" / "auth_token").touch(mode=0o600)
    (checkout.parent / ".ray" / "auth_token").write_text("0123")
    types = {"InstanceTypes": [{"VCpuInfo": {"DefaultVCpus": 4}}]}
    asked: list[str] = []

    def quota(ServiceCode: str, QuotaCode: str) -> dict[str, Any]:
        asked.append(QuotaCode)
        return {"Quota": {"Value": allowed, "QuotaName": "some"}}

    clients = {
        "ec2": SimpleNamespace(describe_instance_types=lambda InstanceTypes: types),
        "service-quotas": SimpleNamespace(get_service_quota=quota),
    }
    said = list(_quotas(SimpleNamespace(client=clients.__getitem__), check(Path("cluster.yaml"))))
    assert [line.split()[0] for line in said] == [word, word], "4 machines of 4 vCPUs"
    assert asked == ["L-3819A6DF", "L-DB2E81BA"], "spot, then on demand"


def test_machines_at_hand_need_the_token_alone(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").touch(mode=0o600)
    assert main(["prepare-cluster", "cluster.local.yaml"]) == 0
    assert capsys.readouterr().out.startswith("made    token")
    assert yaml.safe_load((checkout / "cluster.local.yaml").read_text())["provider"]["type"] == "local"
