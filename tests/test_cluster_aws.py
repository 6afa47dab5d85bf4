"""cluster.yaml on a mock of AWS whose instances are pretend hosts: `ray up`, a study, a spot loss, `ray down`."""

from __future__ import annotations

import fnmatch
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dehazing.pipeline.lease import holder
from dehazing.pipeline.store import open_store
from tests.cluster import mock_aws
from tests.cluster.clustered import CHECKOUT, Job
from tests.cluster.mock_aws import BUCKET, HEAD, USER, WORKER, Cloud, policy, tags
from tests.cluster.on_aws import AwsCluster
from tests.faults import rig

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
LONGER = {"num_epochs": 200, "steps_per_epoch": 4}  # so that an instance can be taken away in the middle
GROWS_IN_S = 300.0


@dataclass(frozen=True)
class Bench:
    """A cluster, what it runs on, and the table of the study as this machine alone makes it."""

    cloud: Cloud
    cluster: AwsCluster
    expected: list[tuple[Any, ...]]

    def until(self, holds: Callable[[], Any], timeout_s: float, what: str) -> Any:
        """What is true at last."""
        deadline_s = time.monotonic() + timeout_s
        while not (found := holds()):
            self.cloud.check_watch()
            assert time.monotonic() < deadline_s, f"{what} within {timeout_s:g} s"
            time.sleep(1.0)
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    reason = mock_aws.why_not()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("aws")
    checkout = folder / "checkout"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, check=True).stdout
    checkout.mkdir()
    subprocess.run(
        ["rsync", "-a", "--from0", "--files-from=-", f"{CHECKOUT}/", str(checkout)], input=listed, check=True
    )
    study = json.loads(json.dumps(rig.PAIR))
    study["config"] |= LONGER
    study["joint"]["hvae"]["config"] |= LONGER
    path = rig.write_study(checkout, "pair", study)  # shipped with the checkout
    code, said = rig.finish(rig.start(folder / "alone", str(path)))
    assert code == 0, said
    with Cloud(Path("/run/dehazing-aws")) as cloud, pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment(USER).items():
            patch.setenv(name, value)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        cluster = AwsCluster(cloud, folder, checkout)
        cluster.up()
        yield Bench(cloud, cluster, rig.table(folder / "alone"))
        cluster.close_tunnel()


def test_ray_up_starts_the_head_alone(bench: Bench) -> None:
    (head,) = bench.cloud.instances()
    assert tags(head)["ray-user-node-type"] == "head" and bench.cluster.num_nodes() == 1


def test_a_spot_instance_that_is_taken_away_costs_its_time_alone(bench: Bench, tmp_path: Path) -> None:
    cluster, cloud = bench.cluster, bench.cloud
    places = ("--storage", cluster.RESULTS, "--store", cluster.STORE)
    job = Job(cluster, cluster.submit("pair.yaml", "--scale", "smoke", "--set", "scale.num_parallel=2", *places))
    bench.until(lambda: len(cloud.live("gpu_spot")) == 2, GROWS_IN_S, "two workers must be asked for")
    bench.until(lambda: cluster.num_nodes() == 3, GROWS_IN_S, "two workers must join")

    store = open_store(cluster.STORE)

    def held() -> dict[str, str]:
        """Address → host of what is being made; some trials have ended before."""
        assert job.status() in ("PENDING", "RUNNING"), job.log()[-3000:]
        if len(store.addresses()) < 3:
            return {}
        owners = {address: holder(store, address) for address in store.files() if not store.has(address)}
        return {address: owner.host for address, owner in owners.items() if owner and owner.host != cluster.head.name}

    address, host = next(iter(bench.until(held, 600, "a worker must hold a trial").items()))
    cloud.ec2.terminate_instances(InstanceIds=[cloud.instance_of(host)])
    (lost,) = (one for one in cluster.hosts if one.name == host)
    bench.until(lambda: lost.is_off, 60, "its power must be cut")
    assert not store.has(address), "it was in the middle of it"

    assert job.end(900) == "SUCCEEDED", job.log()[-3000:]
    assert store.has(address), "made elsewhere"
    root = cluster.fetch(tmp_path / "home") / "results"
    assert rig.table(root) == bench.expected
    rig.check_ledgers(root, f"sqlite:///{tmp_path / 'home' / 'mlflow' / 'mlflow.db'}")
    assert len([one for one in cloud.instances() if tags(one)["ray-user-node-type"] == "gpu_spot"]) >= 2
    assert not cloud.live("gpu_on_demand"), "spot comes first"


def test_what_the_file_promises_was_asked_for(bench: Bench) -> None:
    asked = [given for action, given in bench.cloud.asked() if action == "ec2:RunInstances"]
    assert sum(int(given["MaxCount"]) for given in asked) == len(bench.cloud.instances()) >= 3
    for given in asked:
        assert given["BlockDeviceMapping.1.Ebs.VolumeType"] == "gp3"
        assert given["BlockDeviceMapping.1.Ebs.Encrypted"] == "true"
        assert given["BlockDeviceMapping.1.Ebs.DeleteOnTermination"] == "true"
        assert given["MetadataOptions.HttpTokens"] == "required"
        is_head = given["InstanceType"] == "m5.xlarge"
        assert given["IamInstanceProfile.Name"] == ("study-head" if is_head else "study-worker")
    kinds = {given["InstanceType"]: given for given in asked}
    assert set(kinds) == {"m5.xlarge", "g5.xlarge"}
    spot = {name.rpartition(".")[2]: value for name, value in kinds["g5.xlarge"].items() if "Market" in name}
    assert spot == {"MarketType": "spot", "SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    assert not any("Market" in name for name in kinds["m5.xlarge"]), "the head is on demand"

    for one in bench.cloud.instances():
        is_head = tags(one)["ray-user-node-type"] == "head"
        assert one.get("InstanceLifecycle") == (None if is_head else "spot")
        assert tags(one)["ray-cluster-name"] == "dehazing", "by which head-policy.json knows what it may end"
    groups = bench.cloud.ec2.describe_security_groups()["SecurityGroups"]
    used = {group["GroupId"] for one in bench.cloud.instances() for group in one["SecurityGroups"]}
    rules = [rule for group in groups if group["GroupId"] in used for rule in group["IpPermissions"]]
    from_outside = [rule for rule in rules if rule["IpRanges"] or rule["Ipv6Ranges"] or rule.get("PrefixListIds")]
    assert [(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in from_outside] == [("tcp", 22, 22)]
    names = [profile["InstanceProfileName"] for profile in bench.cloud.iam.list_instance_profiles()["InstanceProfiles"]]
    assert sorted(names) == ["study-head", "study-worker"], "Ray made none of its own"


@pytest.mark.parametrize(("key", "role"), [(HEAD, "study-head"), (WORKER, "study-worker")])
def test_a_role_may_do_what_its_machines_ask_for(bench: Bench, key: str, role: str) -> None:
    asked = {action for action, _ in bench.cloud.asked(key)}
    given = [statement["Action"] for statement in policy(role)["Statement"]]
    allowed = [action for one in given for action in ([one] if isinstance(one, str) else one)]
    refused = {action for action in asked if not any(fnmatch.fnmatchcase(action, pattern) for pattern in allowed)}
    assert "s3:PutObject" in asked and refused == set()


def test_where_spot_is_refused_a_worker_on_demand_comes(bench: Bench) -> None:
    """No worker is there, and work that needs a GPU is asked for: Ray asks for spot first, and goes on to the next."""
    cluster, cloud = bench.cluster, bench.cloud
    assert cloud.live("gpu_spot"), "those of the study idle for ten minutes"
    cloud.refuse_spot()
    bench.until(lambda: cluster.num_nodes() == 1, GROWS_IN_S, "the head must stand alone")
    work = "import ray; ray.init('auto'); where = ray.remote(num_gpus=1)(ray.util.get_node_ip_address).remote();"
    said = cluster.head.ssh(
        f'. ~/.bashrc; RAY_AUTH_MODE=token python -c "{work} print(ray.get(where))"', timeout_s=GROWS_IN_S
    )
    (worker,) = cloud.live("gpu_on_demand")
    assert said.stdout.split()[-1] == worker["PrivateIpAddress"] and "InstanceLifecycle" not in worker
    markets = [
        any("Market" in name for name in given) for action, given in cloud.asked(HEAD) if action == "ec2:RunInstances"
    ]
    assert markets[-2:] == [True, False], "spot was asked for before, and refused"


def test_ray_down_terminates_everything(bench: Bench) -> None:
    bench.cluster.down()
    states = {one["State"]["Name"] for one in bench.cloud.instances()}
    assert states == {"terminated"}
    assert "ec2:StopInstances" not in {action for action, _ in bench.cloud.asked()}
    bench.until(lambda: all(host.is_off for host in bench.cluster.hosts), 60, "hosts must end")
    (volume,) = bench.cloud.ec2.describe_volumes(VolumeIds=[bench.cloud.volume])["Volumes"]
    assert volume["State"] == "available", "the volume stays"
    assert bench.cloud.s3.list_objects_v2(Bucket=BUCKET, Prefix="store/")["KeyCount"] > 0, "and the bucket"
