"""What cluster.yaml asks of AWS, by Ray's own code, of moto in this process: no machine starts, nothing leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studies.cluster_file import check

ROOT = Path(__file__).parents[1]


@pytest.fixture
def ec2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """EC2 of an account that has the two profiles and nothing else."""
    moto = pytest.importorskip("moto")
    import boto3

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    token = tmp_path / ".ray" / "auth_token"
    token.parent.mkdir()
    token.touch(mode=0o600)
    token.write_text("0123")
    with moto.mock_aws():
        iam = boto3.client("iam", region_name="us-west-2")
        for name in ("study-head", "study-worker"):
            iam.create_instance_profile(InstanceProfileName=name)
        yield boto3.client("ec2", region_name="us-west-2")


@pytest.mark.slow
def test_the_file_asks_for_what_it_promises(ec2: Any) -> None:
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    config = AWSNodeProvider.fillout_available_node_types_resources(check(Path("cluster.yaml")))
    resources = {name: node["resources"] for name, node in config["available_node_types"].items()}
    assert resources["head"] == {"CPU": 0}
    assert resources["gpu_spot"] == resources["gpu_on_demand"]
    assert (resources["gpu_spot"]["CPU"], resources["gpu_spot"]["GPU"]) == (4, 1), "one trial of the scale `cluster`"

    config = bootstrap_aws(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    asked = {}
    for name, node in config["available_node_types"].items():
        (instance,) = provider.create_node(node["node_config"], {"ray-user-node-type": name}, 1).values()
        asked[name] = ec2.describe_instances(InstanceIds=[instance.id])["Reservations"][0]["Instances"][0]

    assert [one["InstanceType"] for one in asked.values()] == ["m5.xlarge", "g5.xlarge", "g5.xlarge"]
    assert [name for name, one in asked.items() if one.get("InstanceLifecycle") == "spot"] == ["gpu_spot"]
    profiles = {name: one["IamInstanceProfile"]["Arn"].split("/")[-1] for name, one in asked.items()}
    assert profiles == {"head": "study-head", "gpu_spot": "study-worker", "gpu_on_demand": "study-worker"}
    for one in asked.values():
        tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
        assert tags["ray-cluster-name"] == "dehazing", "by which head-policy.json knows the machines it may end"
        assert one["MetadataOptions"]["HttpTokens"] == "required"
        (group,) = ec2.describe_security_groups(GroupIds=[one["SecurityGroups"][0]["GroupId"]])["SecurityGroups"]
        open_to_the_world = [rule for rule in group["IpPermissions"] if rule["IpRanges"] or rule["Ipv6Ranges"]]
        assert [(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in open_to_the_world] == [
            ("tcp", 22, 22)
        ]

    provider.terminate_nodes([one["InstanceId"] for one in asked.values()])
    left = [i["State"]["Name"] for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
    assert set(left) <= {"shutting-down", "terminated"}, "nothing is only stopped"
