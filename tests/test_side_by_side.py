"""Both sides see the same images and the same batches, each in a process of its own, and neither can cheat."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.side_by_side import __main__ as runner
from benchmarks.side_by_side import batches, environment, settings, table
from benchmarks.side_by_side.comparison import SEARCH_SEED, Plan, export
from benchmarks.side_by_side.side import Side
from dehazing.data.dataset import make_series, read_dataset, with_scale
from dehazing.data.series import Series
from studies.reading import FOLDER

LINES = FOLDER / "datasets" / "lines.yaml"
SMALL: dict[str, Any] = {
    "num_fields": {"train": 3, "validation": 2, "test": 2},
    "field_px": 48,
    "pad_px": 16,
    "dz_um": 1.0,
    "depth_um": 3.0,
    "pinholes_au": [1, 4, 20],
}
PLAN = Plan(num_steps=6, num_search_steps=2, seeds=(1, 2), batch=4, patch_px=32, block=4)


@pytest.fixture(scope="module")
def series() -> Series:
    return make_series(with_scale(read_dataset(LINES), SMALL))


@pytest.fixture
def folder(series: Series, tmp_path: Path) -> Path:
    export(series, PLAN, tmp_path)
    return tmp_path


def test_a_batch_is_cut_from_the_series_as_its_draws_say(series: Series, folder: Path) -> None:
    read = batches.Batches(folder, seed=1)
    frames = series.x("train")
    for step in range(PLAN.num_steps):
        x_t, t, x_0 = read(step)
        assert x_t.shape == x_0.shape == (4, 1, 32, 32) and t.dtype == torch.long
        for k in range(PLAN.batch):
            field, y, x, turns, mirrored, level = (int(column[step, k]) for column in read.draws)
            for image, at in ((x_t, level), (x_0, 0)):
                expected = np.rot90(frames[field, at, y : y + 32, x : x + 32], turns)
                expected = expected[:, ::-1] if mirrored else expected
                np.testing.assert_array_equal(image[k, 0].numpy(), expected)
            assert t[k] == level


def test_what_is_scored_on_is_the_series_normalised_once(series: Series, folder: Path) -> None:
    for split in batches.SPLITS:
        written = np.load(folder / f"{split}.npy")
        assert written.dtype == np.float32
        np.testing.assert_array_equal(written, series.x(split))
    training = np.load(folder / "train.npy")[:, : series.T + 1]
    np.testing.assert_allclose(training.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(training.std((0, 2, 3)), 1, atol=1e-4)


def test_every_seed_has_draws_of_its_own_and_the_same_ones_again(folder: Path) -> None:
    draws = {seed: batches.Batches(folder, seed).draws for seed in (1, 2, SEARCH_SEED)}
    assert draws[SEARCH_SEED].field.shape == (PLAN.num_search_steps, PLAN.batch)
    assert any((a != b).any() for a, b in zip(draws[1], draws[2], strict=True))
    again = batches.draw(PLAN.num_steps, PLAN.batch, (3, 48, 48), PLAN.patch_px, 2, PLAN.share_at_T, seed=1)
    assert all((a == b).all() for a, b in zip(draws[1], again, strict=True))


def test_levels_are_drawn_evenly_beside_a_share_at_T_and_places_fill_the_field() -> None:
    drawn = batches.draw(4000, 8, (5, 48, 40), 32, T=4, share_at_T=0.25, seed=0)
    shares = np.bincount(drawn.level.ravel(), minlength=5) / drawn.level.size
    np.testing.assert_allclose(shares, [0, 3 / 16, 3 / 16, 3 / 16, 7 / 16], atol=0.01)
    for column, highest in zip(drawn[:5], (4, 16, 8, 3, 1), strict=True):
        assert column.min() == 0 and column.max() == highest
    alone = batches.draw(10, 8, (5, 48, 40), 32, T=4, share_at_T=1.0, seed=0)
    assert (alone.level == 4).all()


def test_networks_may_be_trained_at_T_alone(series: Series, tmp_path: Path) -> None:
    export(series, Plan(num_steps=3, num_search_steps=1, seeds=(1,), levels="T", patch_px=32), tmp_path)
    assert (batches.Batches(tmp_path, 1).draws.level == series.T).all()


@pytest.fixture
def ours(tmp_path: Path):
    with Side("ours", sys.executable, runner.MODULES["ours"], 1, tmp_path / "ours.log") as side:
        yield side


@pytest.mark.slow
@pytest.mark.parametrize("method", settings.METHODS)
def test_a_side_goes_on_where_it_stood(ours: Side, folder: Path, method: str) -> None:
    """Steps in two portions are the steps in one, and another seed is another network."""
    small = {"base": 4, "depth": 2} if method == "unet" else {"width": 8, "num_samples": 2}
    restored = []
    for seed, portions in ((1, (6,)), (1, (2, 4)), (2, (6,))):
        asked = {"method": method, "setting": small, "seed": seed, "num_steps": 6, "folder": str(folder)}
        assert ours.ask("begin", **asked)["num_parameters"] > 100
        for num_steps in portions:
            spent = ours.ask("go_on", num_steps=num_steps)
            assert len(spent["wall_s"]) == len(spent["cpu_s"]) == num_steps and min(spent["wall_s"]) > 0
        ours.ask("restore", split="test", levels=[1, 2], into=str(folder / "restored.npy"))
        restored.append(np.load(folder / "restored.npy"))
        assert restored[-1].shape == (2, 2, 48, 48)
    np.testing.assert_array_equal(restored[0], restored[1])
    assert abs(restored[0] - restored[2]).max() > 1e-3


@pytest.mark.slow
def test_a_side_that_fails_says_why(ours: Side, folder: Path) -> None:
    with pytest.raises(RuntimeError, match=r"ours failed at `begin`: ValueError.*`lr > 0` must hold"):
        ours.ask("begin", method="unet", setting={"lr": -1.0}, seed=1, num_steps=2, folder=str(folder))
    with pytest.raises(RuntimeError, match="ours ended at `go_on`: ValueError"):
        ours.ask("go_on", num_steps=1)


@pytest.mark.slow
def test_a_side_against_itself_ties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own side in both chairs: every score is the same, whatever the order in which they are asked."""
    small = {"unet": {"base": 4, "depth": 2}}
    points = [{**small["unet"], "lr": lr} for lr in (1e-3, 4e-3)]
    monkeypatch.setattr(settings, "tried", lambda method, num_parameters: {"ours": points, "careamics": points})
    pythons = dict.fromkeys(runner.MODULES, Path(sys.executable))
    modules = dict.fromkeys(runner.MODULES, runner.MODULES["ours"])
    record = runner.compare(LINES, PLAN, ["unet"], pythons, 1, modules, **SMALL)
    json.dumps(record)
    sides = record["methods"]["unet"]
    assert sides["ours"]["tried"] == sides["careamics"]["tried"] and len(sides["ours"]["tried"]) == 2
    for row in table.ROWS:
        assert table.scores(sides["ours"], row) == table.scores(sides["careamics"], row)
    assert len(sides["ours"]["seeds"]) == 2 and len(sides["ours"]["seeds"][0]["wall_s"]) == PLAN.num_steps
    assert not [sentence for sentence in table.broken(record) if "step must take" not in sentence]
    assert "| PSNR at T, dB |" in table.report(record)


@pytest.mark.slow
def test_a_setting_that_diverges_in_the_whole_length_gives_way_to_the_next_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [{"lr": lr} for lr in (0.5, 1.0, 2.0)]
    monkeypatch.setattr(settings, "tried", lambda method, num_parameters: {"ours": points[:1], "careamics": points})
    pythons = dict.fromkeys(runner.MODULES, Path(sys.executable))
    modules = dict.fromkeys(runner.MODULES, "tests.diverging_side")
    record = runner.compare(LINES, PLAN, ["unet"], pythons, 1, modules, **SMALL)
    theirs = record["methods"]["unet"]["careamics"]
    assert theirs["diverged"] == [{"lr": 2.0}] and theirs["setting"] == {"lr": 1.0} and len(theirs["seeds"]) == 2
    assert record["methods"]["unet"]["ours"]["diverged"] == []
    assert "lr 2.0 diverged" in table.report(record)


def record_with(**changes: Any) -> dict[str, Any]:
    """A record of two seeds in which both sides are equal but for what is changed in ours."""

    def side(psnr: float = 30.0, wall_s: float = 0.1, num_parameters: int = 100) -> dict[str, Any]:
        seed = {"psnr": [psnr + 2, psnr], "psnr_ri": [psnr, psnr], "wall_s": [wall_s] * 3, "cpu_s": [wall_s] * 3}
        return {"num_parameters": num_parameters, "seeds": [seed, seed], "setting": {"lr": 1.0}, "tried": []}

    return {"levels": "all", "methods": {"unet": {"ours": side(**changes), "careamics": side()}}}


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({}, []),
        ({"psnr": 29.91, "wall_s": 0.099, "num_parameters": 81}, []),
        ({"psnr": 29.8}, ["PSNR at T must", "PSNR over all levels must"]),
        ({"wall_s": 0.11}, ["a step must take"]),
        ({"num_parameters": 121}, ["parameters must agree"]),
    ],
)
def test_a_broken_bound_is_named(changes: dict[str, Any], sentences: list[str]) -> None:
    found = table.broken(record_with(**changes))
    assert len(found) == len(sentences)
    assert all(sentence in text for sentence, text in zip(sentences, found, strict=True))


def test_networks_that_saw_T_alone_are_held_to_their_score_at_T() -> None:
    record = record_with()
    record["methods"]["unet"]["ours"]["seeds"][0]["psnr"][0] = 10.0
    assert len(table.broken(record)) == 1 and not table.broken({**record, "levels": "T"})


def test_the_median_step_and_the_mean_over_levels_are_what_the_table_shows() -> None:
    record = record_with(psnr=31.0, wall_s=0.2)
    side = record["methods"]["unet"]["ours"]
    side["seeds"][0] = {**side["seeds"][0], "wall_s": [0.2, 9.0, 0.2]}  # a step that something else held up
    assert table.step_ms(side) == pytest.approx(200)
    assert table.scores(side, "PSNR over all levels") == pytest.approx([32.0, 32.0])


def test_an_environment_is_made_in_no_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files"):
        environment.ensure(tmp_path)
    assert (tmp_path / "thesis.tex").is_file()
    assert not environment.fits(Path(sys.executable)), "our own environment has no CAREamics"
