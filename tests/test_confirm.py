"""The confirmation: what is part of it, and how its executions are made when they fail, wait or lose their process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from analysis import figures, variants
from dehazing.data.dataset import read_dataset
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import lease
from dehazing.stages import iterative
from dehazing.strict import from_mapping
from studies import cluster, conclusion, journal
from studies.asking import DATASET
from studies.conclusion import best_settings, conclude, instances_of, wanted_of
from studies.confirm import check_names, unconfirmed
from studies.confirming import _execute
from studies.executions import check, nested, pipeline_of, space_of
from studies.investigation import Investigation, NothingChosen
from studies.planning.expected import confirmation, expected
from studies.reading import read_studies, study_names
from studies.scale import read_scale
from studies.study import Study
from tests import tiny_series
from trainables import node

CHECKOUT = Path(__file__).parents[1]
SMALL = {"base": 4, "depth": 2, "patch_px": 32, "batch_size": 2, "num_epochs": 1, "steps_per_epoch": 1}
BOTH = {  # an own study that searches the degrader and the loop together
    "question": "Which degrader and which loop together?",
    "kind": "iterative",
    "upstreams": {"unet": "unet", "nafnet": "nafnet", "hdn": "hdn", "hvae": "hvae", "restorer": "restorer"},
    "joint": {"degrader": {"config": {"num_epochs": 2}, "space": {"lambda_cyc": {"low": 1.0}}}},
    "objective": {"metric": "val/gap_db", "mode": "max"},
    "sampler": "random",
    "scales": {"smoke": {"num_trials": 2}},
}
PAIR = {  # the degrader and its restorer together, and a loop on what that chose
    "question": "Which pair?",
    "kind": "degrader",
    "upstreams": {"hvae": "hvae"},
    "joint": {"restorer": {}},
    "objective": {"metric": "val/psnr_direct", "mode": "max"},
    "sampler": "random",
    "scales": {"smoke": {"num_trials": 2}},
}


def own(folder: Path, name: str, mapping: dict[str, Any]) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(mapping))
    return str(path)


def investigation_of(root: Path, *names: str) -> Investigation:
    return Investigation(
        root, "e", DATASET, read_dataset(DATASET), "smoke", read_scale("smoke"), read_studies(list(names), "smoke")
    )


def plant(investigation: Investigation, study: Study, state: TrialState = TrialState.COMPLETE) -> None:
    """The whole budget of a study in the journal, as a search on the chosen trials before it leaves it."""
    opened = investigation.open(study)
    seed, upstreams, domain = (
        investigation.scale.search_seed,
        investigation.upstreams(study),
        investigation.domain(study),
    )
    for number in range(study.num_trials):
        trial = opened.ask()
        space_of(study)(trial)
        pipeline = pipeline_of(study, investigation.series, seed, upstreams, nested(trial.params), domain)
        trial.set_user_attr("fingerprint", pipeline[-1].fingerprint)
        trial.set_user_attr("executions", json.dumps([asdict(execution) for execution in pipeline]))
        values = [float(number)] * len(study.objective) if state == TrialState.COMPLETE else None
        opened.tell(trial, values, state)
    chosen = journal.chosen(study, opened.get_trials(deepcopy=False))
    if chosen is not None:
        investigation.addresses[study.name] = f"{study.kind}/{chosen.user_attrs['fingerprint']}"


def test_a_study_that_searches_stages_jointly_is_no_part_of_the_confirmation(tmp_path: Path) -> None:
    investigation = investigation_of(tmp_path, "all", own(tmp_path, "both", BOTH))
    check_names(investigation.studies)
    for study in investigation.studies.values():
        plant(investigation, study)
    plan = instances_of(investigation)
    beside = {"restorer_pixels", "anchored", "pixels", "attribution"}
    assert {instance.name for instance in plan} == {*study_names(), *beside}
    assert unconfirmed(investigation.studies) == {"both": "`both` searches several stages jointly: it is not confirmed"}
    loop = wanted_of(investigation, plan)["iterative", investigation.scale.seeds[0]]
    assert all(isinstance(one.get("degrader", ""), str) for one in loop.config["configurations"])


def test_why_the_loops_trail_is_asked_of_direct_with_every_degrader_in_latents(tmp_path: Path) -> None:
    investigation = investigation_of(tmp_path, "all")
    for study in investigation.studies.values():
        plant(investigation, study)
    plan, seeds = instances_of(investigation), investigation.scale.seeds
    wanted = wanted_of(investigation, plan)
    asked = [wanted["attribution", seed] for seed in seeds]
    assert [execution.kind for execution in asked] == ["attribution"] * len(seeds)
    loops = asked[0].config["configurations"]
    assert [(one["name"], one["degrader"]) for one in loops] == [
        ("direct", "degrader"),
        ("direct_anchored", "anchored"),
    ]
    assert asked[0].config["split"] == "test" and asked[0].address != asked[1].address
    for role in ("hvae", "restorer", "degrader", "anchored"):
        assert asked[0].upstreams[role] == wanted[role, seeds[0]].address
    assert {*asked[0].upstreams} == {"hvae", "restorer", "degrader", "anchored"}, "no baseline, nothing in pixels"

    of = {instance.name: instance for instance in plan}
    assert of["attribution"].study is of["iterative"].study and of["iterative"].kind == "iterative"
    names = {instance.name for instance in instances_of(investigation, without=["attribution"])}
    assert names == {*of} - {"attribution"}
    fewer = {instance.name: instance for instance in instances_of(investigation, without=["anchored"])}
    assert [one["name"] for one in fewer["attribution"].config["configurations"]] == ["direct"]


def in_pixels(folder: Path, *left_out: str) -> list[str]:
    """Studies that let the search choose between a degrader in latents and one in pixels."""
    restorer = {**yaml.safe_load((CHECKOUT / "studies" / "restorer.yaml").read_text()), "controls": {}, "upstreams": {}}
    restorer |= {"config": {"domain": "pixels"}, "space": {"lambda_decoder": 0.0}}
    named = {"upstreams": {"restorer_pixels": "mine"}}
    degrader = {**named, "space": {"domain": {"choices": ["latents", "pixels"]}}}
    mappings = {"mine": restorer, "degrader": degrader, "iterative": named}
    return ["all", *(own(folder, name, mapping) for name, mapping in mappings.items() if name not in left_out)]


@pytest.mark.parametrize("domain", ["latents", "pixels"])
def test_the_loop_runs_in_the_domain_of_the_chosen_degrader(tmp_path: Path, domain: str) -> None:
    investigation = investigation_of(tmp_path, *in_pixels(tmp_path))
    check_names(investigation.studies)
    for study in investigation.studies.values():
        check(study)
        if study.name == "degrader":
            for tried in {"latents": ["pixels", "latents"], "pixels": ["latents", "pixels"]}[domain]:
                investigation.open(study).enqueue_trial({"domain": tried})  # the last one is the best
        plant(investigation, study)
    degrader, loop = (investigation.chosen_execution(investigation.studies[name]) for name in ("degrader", "iterative"))
    used, unused = ("restorer_pixels", "restorer") if domain == "pixels" else ("restorer", "restorer_pixels")
    assert degrader.config["domain"] == domain and used in degrader.upstreams and unused not in degrader.upstreams
    (searched,) = loop.config["configurations"]
    assert searched.get("domain", "latents") == domain
    assert loop.upstreams[used] == degrader.upstreams[used] and unused not in loop.upstreams
    assert loop.upstreams["hvae"] == investigation.addresses["hvae"], "its ceiling stands in every table"

    plan = instances_of(investigation)
    wanted = wanted_of(investigation, plan)
    seed = investigation.scale.seeds[0]
    confirmed = wanted["iterative", seed]
    assert confirmed.upstreams["degrader"] == wanted["degrader", seed].address
    assert confirmed.upstreams["restorer_pixels"] == wanted["mine", seed].address
    by_name = {one["name"]: one.get("domain", "latents") for one in confirmed.config["configurations"]}
    assert by_name["direct"] == by_name["bridge"] == by_name["stop"] == domain
    assert by_name["direct_pixels"] == "pixels" and by_name["direct_anchored"] == domain, "a control of the chosen one"
    chosen = from_mapping(iterative.Config, confirmed.config, "the loop")
    assert {one.domain for one in chosen.configurations if one.degrader == "degrader" and one.has_G} == {domain}


def test_a_loop_of_a_jointly_searched_degrader_runs_in_its_domain(tmp_path: Path) -> None:
    pixels = {**BOTH, "upstreams": {**BOTH["upstreams"], "restorer_pixels": "mine"}}
    pixels["joint"] = {"degrader": {"space": {"domain": {"choices": ["latents", "pixels"]}}}}
    study = read_studies([*in_pixels(tmp_path), own(tmp_path, "both", pixels)], "smoke")["both"]
    check(study)
    for domain in ("latents", "pixels"):
        suggestion = {"degrader": {"domain": domain}, "variant": "direct"}
        made, loop = pipeline_of(study, "series", 0, {role: role for role in study.upstreams}, suggestion)
        assert loop.config["configurations"][0].get("domain", "latents") == domain
        assert ("restorer_pixels" in loop.upstreams) == ("restorer_pixels" in made.upstreams) == (domain == "pixels")


def test_the_plan_of_the_loop_is_in_the_domain_that_the_degrader_may_choose(tmp_path: Path) -> None:
    investigation = investigation_of(tmp_path, *in_pixels(tmp_path))
    studies = investigation.studies
    for name, study in studies.items():
        if name in ("degrader", "iterative"):
            continue
        plant(investigation, study)
    for domain in ("latents", "pixels"):
        space = {"domain": {"choices": [domain]}}
        investigation.studies = {**studies, "degrader": replace(studies["degrader"], space=space)}
        recorded = investigation.recorded()
        planned = expected(investigation, recorded, {name: [] for name in studies})
        loops = [one for target in planned["iterative"].targets for one in target.config["configurations"]]
        assert not planned["iterative"].refused and {one.get("domain", "latents") for one in loops} == {domain}
        wanted, known = confirmation(investigation, planned)
        assert not known
        of_seed = wanted["iterative", investigation.scale.seeds[0]]
        by_name = {one["name"]: one.get("domain", "latents") for one in of_seed.config["configurations"]}
        assert by_name["direct"] == domain


def test_a_restorer_of_the_other_domain_and_a_loop_without_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="`restorer_pixels` must be filled by a restorer that is trained in pixels, but"
    ):
        read_studies(["degrader"], "smoke", {"degrader": {"upstreams": {"restorer_pixels": "restorer"}}})
    names = in_pixels(tmp_path, "iterative")
    with pytest.raises(
        ValueError, match=r"^degrader.yaml: upstreams: .*in latents, but that of `mine` is trained in pix"
    ):
        read_studies(names, "smoke", {"degrader": {"upstreams": {"restorer": "mine"}}})
    either = {"space": {"domain": {"choices": ["latents", "pixels"]}}}
    with pytest.raises(ValueError, match="but that of `restorer` is trained in latents or pixels"):
        read_studies(["all"], "smoke", {"restorer": either})
    with pytest.raises(
        ValueError, match=r"^iterative.yaml: `upstreams` must name .*`restorer_pixels`, as the degrader"
    ):
        read_studies(names, "smoke")
    joint = own(tmp_path, "pair", {**PAIR, "joint": {"restorer": {"config": {"domain": "pixels"}}}})
    with pytest.raises(ValueError, match=r"^pair.yaml: joint: the role `restorer` must .*in latents"):
        read_studies([joint], "smoke")


def test_what_builds_on_a_jointly_searched_stage_is_not_confirmed_either(tmp_path: Path) -> None:
    above = {**yaml.safe_load((CHECKOUT / "studies" / "iterative.yaml").read_text()), "controls": {}}
    above["upstreams"] = {**above["upstreams"], "degrader": "pair"}
    names = ["all", own(tmp_path, "pair", PAIR), own(tmp_path, "above", above)]
    reasons = unconfirmed(read_studies(names, "smoke"))
    assert list(reasons) == ["pair", "above"] and "builds on `pair`" in reasons["above"]


def test_without_a_shipped_study_there_is_no_confirmation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [own(tmp_path, "pair", PAIR), own(tmp_path, "iterative", {"upstreams": {"degrader": "pair"}})]
    investigation = investigation_of(tmp_path, "all", *files)
    for study in investigation.studies.values():
        plant(investigation, study)
    assert conclude(investigation) is None
    said = capsys.readouterr().err
    assert "`iterative` builds on `pair`, which is not confirmed" in said and "there is no confirmation" in said
    assert (tmp_path / "e" / "trials.json").is_file() and not (tmp_path / "e" / "confirm.json").exists()


def test_evaluation_confirmation_and_report_have_the_same_baselines() -> None:
    assert iterative.BASELINES == conclusion.BASELINES == variants.BASELINES
    for name in iterative.BASELINES:
        assert name in figures.LINES and variants.title(name) != name and not variants.is_variant(name)


def test_the_best_settings_of_a_variant_hold_the_constraints() -> None:
    study = read_studies(["iterative"], "smoke")["iterative"]
    trials = [trial(0, 1.0, 0.0), trial(1, 3.0, 0.2), trial(2, 2.0, -0.1)]
    assert best_settings(study, trials)["refine_G", "", "none"]["num_refinements"] == 2
    assert best_settings(study, trials[1:2]) == {}


def trial(number: int, value: float, violation: float) -> FrozenTrial:
    study = optuna.create_study()
    asked = study.ask(
        {
            "variant": CategoricalDistribution(["refine_G"]),
            "num_refinements": IntDistribution(number, number),
        }
    )
    asked.set_constraint("seconds <= 1", violation)
    study.tell(asked, value)
    return study.trials[0]


def test_studies_that_do_not_build_on_the_one_without_a_choice_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Investigation, "_tell_again", lambda *_: None)  # MLflow knows them all
    investigation = investigation_of(tmp_path, "all")
    names = ("unet", "nafnet", "hdn", "hvae", "restorer", "degrader")
    for name in names:  # the budget of each is spent, so nothing is executed
        plant(investigation, investigation.studies[name], TrialState.FAIL if name == "unet" else TrialState.COMPLETE)
    investigation.addresses.clear()
    with pytest.raises(NothingChosen, match=r"chosen: unet; not searched, .*: iterative\."):
        investigation.search_all()
    assert set(investigation.addresses) == {"nafnet", "hdn", "hvae", "restorer", "degrader"}
    said = capsys.readouterr().err
    assert "unet: no trial came to its end" in said and "iterative: not searched, as it builds on unet" in said
    assert len(investigation.failures) == 2, "the failed trials"


def test_an_execution_that_somebody_else_is_at_gives_its_slot_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tiny_series.publish(tmp_path)
    execution = Execution("unet", SMALL, tiny_series.NAME, 1)
    alike = cluster.alike(store.place)
    work = (execution.address, asdict(execution), store.place, alike, "cpu", 1)
    with lease(store, execution.address):
        assert _execute(*work)["busy"] and not store.has(execution.address)
    assert "busy" not in _execute(*work) and store.has(execution.address)
    monkeypatch.setattr(node, "RETRIES_S", ())
    with pytest.raises(node.Unlike, match=r"must have numpy 1\.0"):
        _execute(*work[:3], {**alike, "numpy": "1.0"}, "cpu", 1)


STAND_IN = '''
"""Stands in for the stage `unet`: what it does is its learning rate's to say. It notes when it begins and ends."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from dehazing.pipeline.lease import LeaseLost

NOTES = Path(os.environ["NOTES"])


@dataclass(frozen=True)
class Config:
    lr: float = 1.0
    num_epochs: int = 1


def needs(config):
    return ()


class Stage:
    def __init__(self, config, context):
        self.config, self.seed, self.num_epochs, self.epoch, self.final = config, context.seed, 1, 0, {}

    def train_epoch(self):
        name = f"{self.config.lr:g}-{self.seed}"
        is_first = not (NOTES / name).exists()
        with (NOTES / name).open("a") as notes:
            notes.write(f"{time.time()} ")
        try:
            if self.config.lr == 2 and is_first:
                os._exit(1)
            if self.config.lr == 3 and is_first:
                raise LeaseLost("taken over")
            if self.config.lr == 4:
                torch.empty(2**50)
            if self.config.lr == 5:
                raise IndexError("out of range")
            time.sleep(1.0)
        finally:
            with (NOTES / name).open("a") as notes:
                notes.write(f"{time.time()}\\n")
        self.epoch = 1
        return {}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def finish(self):
        return {}
'''

DRIVER = """
import json, sys, threading, time
from pathlib import Path
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.lease import lease
from studies import cluster
from studies.confirming import confirm
from studies.overhead import Overhead
from studies.progress import Progress
from studies.scale import Scale
from tests import tiny_series

store = tiny_series.publish(Path(sys.argv[1]))
ways = {"held": 6, "dies": 2, "loses": 3, "memory": 4, "fails": 5, "plain": 1}
wanted = {(name, 1): Execution("unet", {"lr": lr}, "tiny", 1) for name, lr in ways.items()}
wanted["twin", 1] = wanted["fails", 1]
roles = {"restorer_pixels": wanted["fails", 1].address}
wanted["above", 1] = Execution("degrader", {"domain": "pixels"}, "tiny", 1, roles)
others = [wanted[name, 1].address for name in ("dies", "loses", "plain")]
held, freed = threading.Event(), []

def hold():
    with lease(store, wanted["held", 1].address):
        held.set()
        deadline = time.monotonic() + 120
        while not all(map(store.has, others)) and time.monotonic() < deadline:
            time.sleep(0.1)
        freed.append(all(map(store.has, others)))

holding = threading.Thread(target=hold)
holding.start()
held.wait()
slots = cluster.start(Scale(num_parallel=2), False, store.place)
rooms = {"unet": slots, "degrader": slots}
failed = confirm(wanted, store, Scale(), rooms, {}, Progress(), Overhead())
holding.join()
print(json.dumps({
    "failed": {name: reason for (name, _), reason in failed.items()},
    "there": [name for (name, _), execution in wanted.items() if store.has(execution.address)],
    "freed": freed[0],
    "remembered": store.failure(wanted["memory", 1].address),
}))
"""


@pytest.mark.slow
def test_executions_that_fail_wait_or_lose_their_process(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "unet.py").write_text(STAND_IN)
    (tmp_path / "notes").mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"FAULTY_STAGES": str(tmp_path / "stages"), "NOTES": str(tmp_path / "notes")}
    environment["PYTHONPATH"] = os.pathsep.join([str(CHECKOUT / "tests" / "faults"), str(CHECKOUT)])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DRIVER), str(tmp_path / "results")],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said["failed"]) == {"memory", "fails", "twin", "above"}, said
    assert said["failed"]["above"] == said["failed"]["twin"] == "IndexError: out of range"
    assert said["there"] == ["held", "dies", "loses", "plain"]
    assert said["freed"], "while one was held by another process, the others were made"
    assert "allocate" in said["remembered"] and said["remembered"] == said["failed"]["memory"]
    times = {
        path.name: [tuple(map(float, line.split())) for line in path.read_text().splitlines()]
        for path in (tmp_path / "notes").iterdir()
    }
    ((_, *again),) = times.pop("2-1")  # begun, lost, begun again, ended
    assert {name: len(rows) for name, rows in times.items()} == {"1-1": 1, "3-1": 2, "4-1": 2, "5-1": 1, "6-1": 1}
    begun, ended = times["4-1"][1]
    others = [tuple(again), *(row for name, rows in times.items() if name != "4-1" for row in rows)]
    assert all(end <= begun or start >= ended for start, end in others), "the second time alone"
