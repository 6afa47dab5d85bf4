"""The sentence, the shares and the page on tables whose answer is planted."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from planted_experiment import plant

from analysis.attribution import (
    PARTS,
    WHOLE,
    apart,
    knowable_rows,
    ratio,
    read_attribution,
    read_knowable,
    shares,
)
from analysis.attribution_figures import growth_means
from analysis.report import write_report
from analysis.trajectories import read_confirmation
from analysis.why import sentence, shortest_run
from dehazing.pipeline.store import Store

T, SEEDS, FIELDS = 7, (1, 2, 3), 20
OF_G = {6: 0.12, 5: 0.18, 4: 0.18, 3: 0.18, 2: 0.05, 1: 0.03}  # shares of the whole at a level; they sum to 0.74
OF_R = {7: 0.06, 6: 0.04, 5: 0.04, 4: 0.03, 3: 0.02, 2: 0.02, 1: 0.02}  # 0.23
PLANTED = {"E": {7: 0.03}, "R": OF_R, "G": OF_G}


def planted(seed, variant="direct", levels=PLANTED, num_fields=FIELDS, noise=0.02):
    """One seed's table: the error of a field varies by a factor, and its shares by a little."""
    rng = np.random.default_rng(seed)
    rows = []

    def add(what, field, error, module="", level=WHOLE):
        parts = dict(zip(PARTS, error * np.array([1, 0.05, 0.7, 0.2, 0.04, 0.01]), strict=True))
        rows.append({"variant": variant, "field": field, "what": what, "module": module, "level": level, **parts})

    for f in range(num_fields):
        field, whole, total = f"field-{f:02d}", rng.lognormal(0, 0.5), 0.0
        for module, of_levels in levels.items():
            of_module = {level: whole * (share + rng.normal(0, noise)) for level, share in of_levels.items()}
            total += sum(of_module.values())
            add("share", field, sum(of_module.values()), module)
            for level, error in of_module.items():
                add("share", field, error, module, level)
        add("loop", field, total)
        add("ceiling", field, 0.1)
        add("total", field, total + 0.1 + 0.05)
    return pd.DataFrame(rows)


def all_seeds(**settings):
    return pd.concat([planted(seed, **settings).assign(seed=seed) for seed in SEEDS], ignore_index=True)


def gaps(low=-6.4, gap=-6.1, high=-5.8, verdict="trails", variant="direct"):
    row = {"variant": variant, "metric": "psnr", "baseline": "unet", "gap": gap, "ci_low": low, "ci_high": high}
    return pd.DataFrame([{**row, "step": 0, "gap": 9.0, "verdict": "beats"}, {**row, "step": 6, "verdict": verdict}])


def test_the_sentence_is_that_of_the_numbers():
    said = sentence(all_seeds(noise=0.005), gaps())
    assert said.startswith(
        "direct trails the UNet by 6.1 dB [5.8, 6.4] at its end; of the error above the ceiling 74 % ["
    )
    assert "enters through G, most at levels 5-3. R: 23 % [" in said and "E: 3 % [" in said
    assert said.endswith("What enters through G is 5 % a wrong brightness, and 70 % lies at 0–0.125 cycles/px.")


def test_another_answer_gives_another_sentence():
    one_level = {"E": {7: 0.0}, "R": {3: 0.9, 2: 0.05, 1: 0.03}, "G": {2: 0.01, 1: 0.01}}
    said = sentence(all_seeds(levels=one_level, noise=0.001), gaps(-0.2, 0.1, 0.4, "undecided"))
    assert said.startswith("direct lies 0.1 dB [-0.2, 0.4] above the UNet at its end (undecided); of the error")
    assert "98 % [98, 98] enters through R, most at level 3." in said
    even = {"E": {7: 0.0}, "R": {2: 0.25, 1: 0.25}, "G": {1: 0.5}}
    assert "and" in sentence(all_seeds(levels=even), gaps()) and "no telling which is more" in sentence(
        all_seeds(levels=even), gaps()
    )
    assert sentence(all_seeds(), gaps(0.2, 0.3, 0.4, "beats")).startswith("direct beats the UNet by 0.3 dB [0.2, 0.4]")


def test_a_loop_that_is_not_finite_or_on_the_ceiling_has_no_shares():
    table = all_seeds()
    broken = table.assign(error=table["error"].where(table["field"] != "field-03", np.inf))
    assert sentence(broken, gaps()).endswith("its error is not finite, so no module's share of it can be told.")
    flawless = table.assign(**dict.fromkeys(PARTS, 0.0))
    assert sentence(flawless, gaps()).endswith("it ends on the ceiling, so there is no error to share out.")
    assert shares(flawless)["share"].isna().all()
    assert sentence(pd.DataFrame(), gaps()) == "" == sentence(table, gaps(), "stop")


def test_shares_are_ratios_of_means_and_their_intervals_hold_the_planted_ones():
    found = shares(all_seeds()).set_index(["module", "level", "part"])
    for module, levels in PLANTED.items():
        row = found.loc[module, WHOLE, "error"]
        assert row["ci_low"] <= sum(levels.values()) <= row["ci_high"]
        assert row["ci_high"] - row["ci_low"] < 0.2
        for level, share in levels.items():
            assert found.loc[(module, level, "error"), "share"] == pytest.approx(share, abs=0.03)
    of_modules = found.xs(WHOLE, level="level").xs("error", level="part")["share"]
    assert of_modules.sum() == pytest.approx(1)
    assert found.loc[("G", WHOLE, "band_0"), "share"] == pytest.approx(0.7 * found.loc[("G", WHOLE, "error"), "share"])


def test_the_interval_of_a_ratio_covers_it():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(100):
        whole = rng.lognormal(0, 0.5, (3, 20)) * rng.lognormal(0, 0.05, (3, 1))
        values = whole * (0.4 + rng.normal(0, 0.1, (3, 20)) + rng.normal(0, 0.03, (3, 1)))
        share, low, high = ratio(values, whole)
        assert share == pytest.approx(values.sum() / whole.sum())
        covered += low <= 0.4 <= high
    assert covered >= 90


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 8, 1], (2, 3)), ([1, 4, 4, 1], (1, 3)), ([-5, 3, 3, 3], (1, 2)), ([1], (0, 1)), ([4, 1, 1, 4], (0, 3))],
)
def test_the_shortest_run_that_holds_more_than_half(values, expected):
    assert (shortest_run(values).start, shortest_run(values).stop) == expected


def test_what_the_ceiling_misses_is_told_apart_from_what_the_loop_adds():
    table = all_seeds()
    one_shot = pd.DataFrame(
        [
            {"seed": seed, "variant": name, "field": f"field-{f:02d}", "step": 0, "mse": mse}
            for seed in SEEDS
            for f in range(FIELDS)
            for name, mse in (("unet", 0.2), ("hdn", 0.3))
        ]
    )
    found = {part.text: part for part in apart(table, one_shot)}
    assert [*found][:3] == ["UNet", "HDN", "the ceiling Dec(E(x₀))"]
    assert found["UNet"].mean == pytest.approx(0.2) and found["the ceiling Dec(E(x₀))"].mean == pytest.approx(0.1)
    end, above = found["direct, at its end"], found["— of it above the ceiling"]
    assert end.mean == pytest.approx(above.mean + 0.15) and above.ci_low < above.mean < above.ci_high
    assert found["— what both have in common"].mean == pytest.approx(0.05)


def growth(variant="direct", levels=range(T, 0, -1)):
    names = ("free", "forced", "manifold_free", "manifold_true", "manifold_prediction", "gain_R_random")
    return pd.DataFrame(
        [
            {"variant": variant, "field": f"field-{f:02d}", "level": level, **dict.fromkeys(names, 0.5)}
            | {"gain_R_error": np.nan if level == T else 2.0 ** (1 - 2 * (f % 2)), "gain_step_random": 0.9}
            | {"gain_step_error": None if level == 1 else 1.1}
            for level in levels
            for f in range(4)
        ]
    )


def test_growth_is_averaged_as_factors_are():
    means = growth_means(growth()).set_index("level")
    assert means.loc[3, "gain_R_error"] == pytest.approx(1.0), "twice and half"
    assert np.isnan(means.loc[T, "gain_R_error"]) and np.isnan(means.loc[1, "gain_step_error"])


def knowable(T=3):
    shares_of = {"filters of z_0": 0.9, "filters of z_0 and z_t": 0.99, "filters of z_0 and z_T": 0.95}
    found = {way: [share] * (T - 1) for way, share in {**shares_of, "trained on z_0": 0.92, "haze_alpha": 0.5}.items()}
    return {"pixels": found, "latents": found}


def parquet(table):
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def add_attribution(root, name, num_fields):
    """Publishes a planted attribution at T = 3 of every seed that a planted experiment was confirmed with."""
    levels = {"E": {3: 0.1}, "R": {3: 0.1, 2: 0.05, 1: 0.05}, "G": {2: 0.5, 1: 0.2}}
    path = root / name / "confirm.json"
    confirmation = json.loads(path.read_text())
    addresses = {str(seed): f"attribution/{seed:016x}" for seed in confirmation["seeds"]}
    for seed, address in addresses.items():
        files = {
            "attribution.parquet": parquet(planted(int(seed), levels=levels, num_fields=num_fields)),
            "growth.parquet": parquet(growth(levels=(3, 2, 1))),
            "knowable.json": json.dumps(knowable()).encode(),
        }
        Store(root).publish(address, files)
    confirmation["stages"]["attribution"] = addresses
    path.write_text(json.dumps(confirmation))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of an experiment with three seeds at T = 3, and the report's folder."""
    root = tmp_path_factory.mktemp("results")
    name = plant(root, seeds=SEEDS, T=3, num_fields=4, variants={"direct": 24.8, "residual": 31.0, "stop": 31.5})
    add_attribution(root, name, num_fields=4)
    return root, name, write_report(root, name)


def test_the_report_says_it_below_the_gate_with_figures_and_their_data(page):
    root, name, path = page
    text = path.read_text(encoding="utf-8")
    said = text.split('<p id="because">')[1].split("</p>")[0]
    assert "direct trails the UNet by" in said and "enters through G, most at level 2" in said
    assert text.index('id="gate"') < text.index('id="because"') < text.index('id="gap"')
    for figure in ("attribution", "error_growth"):
        assert (path.parent / "figures" / f"{figure}.png").stat().st_size > 10_000
        assert (path.parent / "figures" / f"{figure}.csv").is_file()
    assert "the level above" in text and "the ceiling Dec(E(x₀))" in text
    assert "Noise-free images are not known here" not in text
    confirmation = read_confirmation(root, name)
    assert set(read_attribution(root, confirmation)["seed"]) == set(SEEDS)
    rows = knowable_rows(read_knowable(root, confirmation))
    assert rows[0] == ("pixels", "x₀ alone", "best linear filter", ["90", "90"])
    assert ("latents", "x₀ alone", "trained regressor", ["92", "92"]) in rows and len(rows) == 8
    assert 'href="knowable.csv"' in text
    beside = pd.read_csv(path.parent / "knowable.csv")
    assert knowable_rows(beside) == rows and set(beside["seed"]) == set(SEEDS)


def test_without_the_stage_there_is_nothing_to_tell(page):
    root, name, _ = page
    confirmation = read_confirmation(root, name)
    del confirmation["stages"]["attribution"]
    assert not len(read_attribution(root, confirmation)) and not len(read_knowable(root, confirmation))
