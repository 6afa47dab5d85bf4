"""EC2, IAM and S3 as moto plays them, on a bridge of this machine, with a pretend host for every instance.

The bridge owns the range from which moto takes private addresses. The public ones that it invents are of real ranges,
so nobody may be told to use them. What is not played: quotas, capacity, images, volumes that hang on a host, the
metadata service, and security groups, which are kept but not enforced.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import IPv4Interface, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.cluster import hosts
from tests.cluster.aws_server import REFUSED
from tests.cluster.hosts import Bed, Host, Net

CHECKOUT = Path(__file__).parents[2]
NET = Net(IPv4Interface("172.31.255.254/16"), "dehazing1", "ec")
PORT = 5777
REGION = "us-west-2"  # as cluster.yaml has it
USER, HEAD, WORKER = "testing", "the-head", "the-worker"  # access keys, by which requests are told apart
BUCKET = "dehazing-study"
LOOK_EVERY_S = 1.0
ANSWERS_IN_S = 300.0  # it first reads megabytes of descriptions
LIVE = ("pending", "running")


def why_not() -> str:
    """Why there can be no such cloud here, in one sentence, or ""."""
    missing = [name for name in ("moto", "boto3", "flask_cors") if importlib.util.find_spec(name) is None]
    if missing:
        return f"the mock of AWS needs {', '.join(missing)}: pip install -c constraints.txt -e '.[dev,cluster]'."
    return hosts.why_not() or _overlapping()


def _overlapping() -> str:
    said = subprocess.run(["ip", "-4", "-j", "route", "show"], capture_output=True, text=True, check=True).stdout
    for route in json.loads(said):
        if (
            route["dst"] != "default"
            and route["dev"] != NET.bridge
            and ip_network(route["dst"]).overlaps(NET.here.network)
        ):
            return f"the mock of AWS needs {NET.here.network}, but {route['dst']} leads to {route['dev']}."
    return ""


class Cloud:
    """An account with what cluster.yaml wants to be there first; a context manager that leaves nothing behind.

    folder: a new one, for the hosts.
    """

    def __init__(self, folder: Path):
        self.bed = Bed(folder, None, 0, NET)
        self.endpoint = f"http://{NET.here.ip}:{PORT}"
        self._asked = folder / "asked.jsonl"
        self._of: dict[str, Host] = {}
        self._done = threading.Event()
        self._watching: Future[None] | None = None
        self._left = ExitStack()

    def environment(self, key: str) -> dict[str, str]:
        """By which boto3 and pyarrow reach the mock; key: who asks."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        """boto3's, as whoever uses the cluster."""
        import boto3

        return boto3.session.Session(
            aws_access_key_id=USER, aws_secret_access_key="testing", region_name=REGION
        ).client(service, endpoint_url=self.endpoint)

    def __enter__(self) -> Cloud:
        with ExitStack() as stack:
            stack.enter_context(self.bed)
            _check_way()
            self._serve(stack)
            self.ec2, self.iam, self.s3 = (self.client(service) for service in ("ec2", "iam", "s3"))
            self._prepare()
            pool = stack.enter_context(ThreadPoolExecutor(1))
            stack.callback(self._done.set)
            self._watching = pool.submit(self._watch)
            self._left = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.close()

    def _serve(self, stack: ExitStack) -> None:
        words = [sys.executable, "-m", "tests.cluster.aws_server"]
        words += [str(NET.here.ip), str(PORT), REGION, str(self._asked)]
        said = stack.enter_context((self.bed.folder / "aws.log").open("w"))
        environment = {**os.environ, "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true"}
        server = subprocess.Popen(words, cwd=CHECKOUT, env=environment, stdout=said, stderr=said)
        stack.callback(server.wait)
        stack.callback(server.kill)
        deadline_s = time.monotonic() + ANSWERS_IN_S
        while True:
            try:
                socket.create_connection((str(NET.here.ip), PORT), timeout=5).close()
                return
            except OSError:
                text = (self.bed.folder / "aws.log").read_text()[-2000:]
                assert server.poll() is None and time.monotonic() < deadline_s, (
                    f"the mock must answer, but says: {text}"
                )
                time.sleep(0.2)

    def _prepare(self) -> None:
        """The bucket, the volume and the profiles."""
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        tags = [{"ResourceType": "volume", "Tags": [{"Key": "study", "Value": "dehazing"}]}]
        volume = self.ec2.create_volume(
            AvailabilityZone=f"{REGION}a", Size=50, VolumeType="gp3", Encrypted=True, TagSpecifications=tags
        )
        self.volume = volume["VolumeId"]
        machines = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}
        for name in ("study-head", "study-worker"):
            trust = json.dumps({"Version": "2012-10-17", "Statement": [machines]})
            self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
            self.iam.put_role_policy(RoleName=name, PolicyName="study", PolicyDocument=json.dumps(policy(name)))
            self.iam.create_instance_profile(InstanceProfileName=name)
            self.iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)

    def _watch(self) -> None:
        ended = set()
        while not self._done.wait(LOOK_EVERY_S):
            for one in self.instances():
                is_live, name = one["State"]["Name"] in LIVE, one["InstanceId"]
                if is_live and name not in self._of:
                    self._of[name] = self._boot(one["PrivateIpAddress"])
                elif not is_live and name in self._of and name not in ended:
                    self._of[name].cut_power()
                    ended.add(name)

    def _boot(self, address: str) -> Host:
        """A host that lets in whoever has one of the account's key pairs."""
        for pair in self.ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]:
            (self.bed.folder / f"{pair['KeyPairId']}.pub").write_text(f"{pair['PublicKey'].strip()}\n")
        host = self.bed.add(address)
        host.boot()
        return host

    def check_watch(self) -> None:
        """What went wrong as hosts were started or ended, if anything."""
        if self._watching is not None and self._watching.done():
            self._watching.result()

    def instances(self) -> list[dict[str, Any]]:
        """Every instance that there ever was, as AWS describes it, the oldest first."""
        found = [one for each in self.ec2.describe_instances()["Reservations"] for one in each["Instances"]]
        return sorted(found, key=lambda one: one["LaunchTime"])

    def live(self, kind: str) -> list[dict[str, Any]]:
        """Those of one type of the cluster file that are there now."""
        return [
            one for one in self.instances() if one["State"]["Name"] in LIVE and tags(one)["ray-user-node-type"] == kind
        ]

    def instance_of(self, host: str) -> str:
        """The instance that a host of this name plays."""
        (name,) = (name for name, one in self._of.items() if one.name == host)
        return name

    def refuse_spot(self) -> None:
        """Give no spot instance any more, and take away those that there are."""
        self._asked.with_name(REFUSED).touch()
        self.ec2.terminate_instances(InstanceIds=[one["InstanceId"] for one in self.live("gpu_spot")])

    def asked(self, key: str = "") -> list[tuple[str, dict[str, str]]]:
        """(action, parameters) of every request so far, or of those with one key; S3's have none.

        Actions are named as policies name them.
        """
        found = []
        for line in self._asked.read_text().splitlines():
            one = json.loads(line)
            if not one["key"] or (key and one["key"] != key):
                continue
            given = {name: values[0] for name, values in parse_qs(one["body"]).items()}
            service = "iam" if given.get("Version") == "2010-05-08" else "ec2"
            found.append((f"{service}:{given['Action']}" if "Action" in given else _s3_action(one), given))
        return found


def tags(instance: dict[str, Any]) -> dict[str, str]:
    """Of an instance."""
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}


def policy(role: str) -> dict[str, Any]:
    """Of a role, from the file that cluster.yaml names, with the bucket's name."""
    path = CHECKOUT / "cluster" / f"{role.removeprefix('study-')}-policy.json"
    found: dict[str, Any] = json.loads(path.read_text().replace("CHANGE-ME-study", BUCKET))
    return found


def _s3_action(one: dict[str, str]) -> str:
    bucket, _, name = one["path"].strip("/").partition("/")
    method = one["method"]
    if not name and method == "POST" and "delete" in one["query"]:
        return "s3:DeleteObject"
    if not name:
        return "s3:ListBucket" if method in ("GET", "HEAD") else f"s3:{method} {bucket}?{one['query']}"
    verbs = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject", "DELETE": "DeleteObject"}
    return f"s3:{verbs[method]}"


def _check_way() -> None:
    said = subprocess.run(["ip", "route", "get", "172.31.0.4"], capture_output=True, text=True, check=True).stdout
    assert f"dev {NET.bridge}" in said, f"the mock's addresses must lead to {NET.bridge}, but: {said}"
