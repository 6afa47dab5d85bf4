"""Two drivers on one results folder at once, MLflow behind a server: what both need is made once."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.faults import rig
from tests.faults.rig import PAIR
from tests.mlflow_server import serving

pytestmark = pytest.mark.slow

ONE_HVAE = {"beta": 0.01, "lr": 1e-3}
LONGER = {**PAIR["joint"]["hvae"]["config"], "num_epochs": 6, "steps_per_epoch": 4}


def executions(trace: Path) -> Counter[str]:
    """Address → how often it was published."""
    found = (re.match(r"^rename stages/(.+)/manifest\.json$", line) for line in rig.lines_of(trace))
    return Counter(match[1] for match in found if match)


def hvae_epochs(trace: Path) -> int:
    """How many epochs of an HVAE were trained, each of which leaves a checkpoint here."""
    return sum(line.startswith("rename stages/hvae/") and "/partial/epoch-" in line for line in rig.lines_of(trace))


@pytest.mark.parametrize("same", [True, False], ids=["one study", "two studies"])
def test_two_drivers_make_one_missing_hvae_once(tmp_path: Path, same: bool) -> None:
    study = {**PAIR, "num_trials": 4, "joint": {"hvae": {"config": LONGER, "space": ONE_HVAE}}}
    first = rig.write_study(tmp_path, "pair", study)
    other = {**study, "space": {**PAIR["space"], "lr": {"choices": [4e-3, 5e-3]}}}
    second = first if same else rig.write_study(tmp_path, "other", other)
    root, trace = tmp_path / "results", tmp_path / "trace"
    with serving(tmp_path / "served") as server:
        both = [rig.start(root, str(path), trace=trace, uri=server.uri) for path in (first, second)]
        for process in both:
            code, said = rig.finish(process)
            assert code == 0, said
        rig.check_ledgers(root, uri=server.uri)
    made = executions(trace)
    assert set(made.values()) == {1}, made
    assert sum(address.startswith("hvae/") for address in made) == 1
    assert hvae_epochs(trace) == LONGER["num_epochs"]
    found = rig.trials(root)
    assert [len(rows) for rows in found.values()] == [4] * (1 if same else 2)
    needed = {address for row in rig.table(root) for address in [row[4]]}
    assert {a for a in made if a.startswith("restorer/")} == needed
