"""The stage `iterative` on trained networks: a configuration in a batch gives what it gives alone, cold or warm."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from scipy.ndimage import gaussian_filter

from benchmarks.prefixes import distinct_calls
from dehazing import inference, metrics, schedules
from dehazing.data.archive import load_series, save_series
from dehazing.data.latents import at_level
from dehazing.data.series import Field, Imaging, Series
from dehazing.moments import matched, moments_of
from dehazing.pipeline.execute import execute
from dehazing.pipeline.execution import Execution
from dehazing.pipeline.stage import Context
from dehazing.pipeline.store import Store
from dehazing.stages import fields, iterative, loops, weights
from dehazing.stages.iterative import Config, Configuration, joined
from dehazing.stages.loop_domain import LoopDomain
from dehazing.stages.scores import FULL

pytestmark = pytest.mark.slow

T = 3
BRIEF = {"num_epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "patch_px": 32}
LADDER = {"latent_channels": [2, 2, 2], "width": 8}
OPERATOR = {**BRIEF, "width": 8, "discriminator_width": 8}
STAGES = {
    "unet": ("unet", {**BRIEF, "base": 4, "depth": 2}),
    "nafnet": ("nafnet", {**BRIEF, "width": 4, "depth": 2}),
    "hdn": ("hdn", {**BRIEF, **LADDER, "num_samples": 2}),
    "hvae": ("hvae", {**BRIEF, **LADDER}),
    "restorer": ("restorer", {**BRIEF, "width": 8}),
    "restorer_pixels": ("restorer", {**BRIEF, "width": 8, "domain": "pixels"}),
    "degrader": ("degrader", OPERATOR),
    "anchored": ("degrader", {**OPERATOR, "anchor": "z_t"}),
    "pixels": ("degrader", {**OPERATOR, "domain": "pixels"}),
}
UPSTREAMS = {
    "restorer": ["hvae"],
    "degrader": ["hvae", "restorer"],
    "anchored": ["hvae", "restorer"],
    "pixels": ["restorer_pixels"],
}
LINEAR, CONSTANT = {"kind": "linear"}, {"kind": "constant", "value": 0.3}
CONFIGURATIONS = [
    Configuration("direct"),
    Configuration("combine_z", LINEAR),
    Configuration("combine_z", CONSTANT),
    Configuration("combine_both", LINEAR, "falling", "first", degrader="anchored"),
    Configuration("refine_R", num_refinements=2, refine_level="lowest"),
    Configuration("refine_both", num_refinements=1, degrader="anchored"),
    Configuration("residual"),
    Configuration("indi"),
    Configuration("direct", match="moments"),
    Configuration("refine_both", num_refinements=1, match="moments", name="refine_both_matched"),
    Configuration("stop"),
    Configuration("combine_z0", CONSTANT, degrader="pixels", domain="pixels"),
    Configuration("bridge", domain="pixels"),
    Configuration("indi", domain="pixels"),
    Configuration("direct", degrader="pixels", domain="pixels", match="moments"),
    Configuration("bridge", domain="pixels", match="moments_of_field"),
    Configuration("combine_z", LINEAR, match="moments_of_field", degrader="anchored"),
    Configuration("direct", start=2),
    Configuration("combine_z0", CONSTANT, lower_starts=True),
]


@pytest.fixture(scope="module")
def upstreams(tmp_path_factory):
    """(series, role → published folder)."""
    rng = np.random.default_rng(0)
    splits = ["train"] * 3 + ["validation"] * 5 + ["test"]
    noise = rng.random((len(splits), T + 1, 40, 45), np.float32).cumsum(1)
    images = gaussian_filter(noise, (0, 0, 1.5, 1.5))  # or nothing would stand out of a background
    blobs = [Field(f"f{i}", split, image) for i, (split, image) in enumerate(zip(splits, images, strict=True))]
    series = Series(tuple(blobs), (1.0, 2.0, 3.0, float("inf")), "px", (1.5,) * (T + 1), (0.5,) * (T + 1))
    aside = tmp_path_factory.mktemp("series")
    save_series(series, aside)
    store = Store(tmp_path_factory.mktemp("results"))
    store.publish("series/random", {path.name: path for path in aside.iterdir()})
    made = {}
    for name, (kind, config) in STAGES.items():
        roles = UPSTREAMS.get(name, [])
        made[name] = Execution(kind, config, "random", 0, {role: made[role] for role in roles}).address
        execute(Execution(kind, config, "random", 0, {role: made[role] for role in roles}), store)
    return load_series(store.folder("series/random")), {name: store.folder(address) for name, address in made.items()}


def stage(upstreams, config, seed=3):
    series, folders = upstreams
    return iterative.Stage(config, Context(series, folders, seed, "cpu"))


def alone(upstreams, config, seed=3):
    """Files and final metrics, as `execute` asks for them."""
    one = stage(upstreams, config, seed)
    measured = one.train_epoch()
    files = one.finish()
    assert one.final == measured
    return files, one.final


@pytest.mark.parametrize("full", [False, True])
def test_a_configuration_in_a_batch_gives_what_it_gives_alone_to_the_bit(upstreams, full):
    configs = [Config((one,), split="validation", full=full) for one in CONFIGURATIONS]
    pair = tuple(Configuration("combine_z", a, name=name) for a, name in ((CONSTANT, "constant"), (LINEAR, "linear")))
    configs.append(Config(pair, full=full))
    fields.forget()
    batch = stage(upstreams, joined(configs))
    batch.train_epoch()
    together = batch.finish_each(configs)
    for config, in_batch in zip(configs, together, strict=True):
        fields.forget()
        assert alone(upstreams, config) == in_batch, config.configurations  # cold
        assert alone(upstreams, config) == in_batch, config.configurations  # warm
    assert len(together[0][0]) == (8 if full else 1)
    assert set(json.loads(json.dumps(together[0][1]))) >= {"val/gap_db", "val/gap_db_direct", "calls/R"}


@pytest.mark.parametrize("full", [False, True])
def test_a_loop_in_pixels_needs_no_restorer_of_latents_but_where_it_is_shown_beside_them(upstreams, full):
    config = Config((Configuration("direct", degrader="pixels", domain="pixels"),), full=full)
    roles = iterative.needs(config)
    assert ("restorer" in roles) == full and {"hvae", "restorer_pixels", "pixels"} <= set(roles)
    series, folders = upstreams
    fields.forget()
    _, final = alone((series, {role: folders[role] for role in roles}), config)
    assert np.isfinite(final["val/psnr_ceiling_frame"])


def test_the_chunks_of_fields_change_nothing_but_rounding(upstreams, monkeypatch):
    config = Config(tuple(CONFIGURATIONS[:2]), full=True)
    _, together = alone(upstreams, config)
    monkeypatch.setattr(loops, "PIXELS_ON_CPU", 1)
    _, one_by_one = alone(upstreams, config)
    assert one_by_one == pytest.approx(together, abs=1e-4)


def test_latents_that_are_computed_together_give_the_same_but_for_rounding(upstreams, monkeypatch):
    config = joined([Config((one,), full=True) for one in CONFIGURATIONS])
    _, one_by_one = alone(upstreams, config)
    monkeypatch.setattr(loops, "_bounds", lambda x, num: (2, 4))  # as on a GPU
    files, together = alone(upstreams, config)
    assert together == pytest.approx(one_by_one, abs=1e-4)
    assert len(files) == 8


def test_only_a_full_evaluation_measures_what_is_dear_and_says_what_it_cannot(upstreams):
    series, folders = upstreams
    simulated = replace(series, fields=tuple(replace(field, truth=field.frames + 1) for field in series.fields))
    tables = {}
    for name, source, full in (("search", simulated, False), ("simulated", simulated, True), ("real", series, True)):
        files, _ = alone((source, folders), Config((CONFIGURATIONS[0],), full=full))
        content = io.BytesIO(files["evaluation.parquet"])
        tables[name] = pd.read_parquet(content), (pq.read_schema(content).metadata or {}).get(b"refused")
    assert not set(tables["search"][0].columns) & set(FULL) and tables["search"][1] is None
    assert tables["simulated"][0][list(FULL)].notna().all(axis=None) and tables["simulated"][1] is None
    needing_truth = {"frc_px", "background", "line_f1"}
    real, refused = tables["real"]
    assert {name for name in FULL if real[name].isna().all()} == set(json.loads(refused)) == needing_truth
    assert real[list(set(FULL) - needing_truth)].notna().all(axis=None)


def evaluated(upstreams, **settings):
    """Table and files of one loop in a full evaluation."""
    files, _ = alone(upstreams, Config((CONFIGURATIONS[0],), full=True, **settings))
    return pd.read_parquet(io.BytesIO(files["evaluation.parquet"])), files


def test_classical_controls_are_rows_at_T_and_what_needs_the_psf_is_left_out_with_a_sentence(upstreams):
    series, folders = upstreams
    psf = np.zeros((T + 1, 5, 5), np.float32)
    psf[:, 2, 1:4] = 1 / 3
    for source, left_out in ((replace(series, imaging=Imaging(psf, 0.0)), 0), (series, 3)):
        table, files = evaluated((source, folders))
        record = json.loads(files["classical.json"])
        assert len(record["left_out"]) == left_out and len(record["chosen"]) == 4 - left_out and record["level"] == T
        for one in record["chosen"]:
            rows = table[table["variant"] == one["control"]]
            assert len(rows) == 5 and rows["level"].eq(T).all() and np.isfinite(rows["psnr"]).all()
        assert not set(record["left_out"]) & set(table["variant"])


def test_hdns_samples_are_those_that_its_row_is_the_mean_of(upstreams):
    table, files = evaluated(upstreams)
    record = json.loads(files["hdn_samples.json"])
    at_T = table[(table["variant"] == "hdn") & (table["level"] == T)]
    assert [one["num"] for one in record["psnr"]] == [1, 2] and record["level"] == T
    assert record["psnr"][-1]["psnr"] == pytest.approx(at_T["psnr"].mean(), abs=1e-4)
    assert record["spread"] > 0 and record["calibration"] is None  # of two samples


def test_averaging_over_turns_adds_a_row_for_every_method_and_changes_none(upstreams):
    plain, files = evaluated(upstreams)
    table, turned_files = evaluated(upstreams, average_turns=True)
    turned = table["variant"].str.endswith("_turned")
    assert set(table[turned]["variant"]) == {"unet_turned", "nafnet_turned", "hdn_turned", "rolling_ball_turned"}
    assert table[turned]["level"].eq(T).all() and turned.sum() == 20
    pd.testing.assert_frame_equal(table[~turned].reset_index(drop=True), plain)
    mean = table.groupby("variant")["mse"].mean()
    assert abs(mean["unet_turned"] - table[table["level"] == T].groupby("variant")["mse"].mean()["unet"]) > 1e-6
    assert mean["rolling_ball_turned"] == pytest.approx(mean["rolling_ball"], rel=1e-4)  # it knows no direction
    assert files["hdn_samples.json"] == turned_files["hdn_samples.json"]


def test_calls_are_counted_as_they_are_made(upstreams, monkeypatch):
    made = {"R": 0, "P": 0}
    domain = iterative.LoopDomain

    class Counted(domain):
        def R(self, z_t, t):
            made["R"] += 1
            return super().R(z_t, t)

    monkeypatch.setattr(iterative, "LoopDomain", Counted)
    monkeypatch.setattr(loops, "PIXELS_ON_CPU", 2**30)  # all fields in one chunk
    batch = stage(upstreams, joined([Config((c,)) for c in CONFIGURATIONS]))
    final = batch.train_epoch()
    assert made["R"] == batch.called["R"] == final["calls/R"]
    assert all(batch.called[name] == final[f"calls/{name}"] for name in ("R", "G", "P"))
    singly = [alone(upstreams, Config((one,)))[1]["calls/R"] for one in CONFIGURATIONS]
    assert max(singly) < final["calls/R"] < sum(singly)


BEGUN = [  # whatever is fitted on the levels up to the start, or sees the latent there
    Configuration("direct"),
    Configuration("combine_z0", LINEAR, reference="first"),
    Configuration("combine_both", LINEAR, degrader="anchored"),
    Configuration("refine_both", num_refinements=1, match="moments_of_field"),
    Configuration("residual", match="moments"),
    Configuration("bridge"),
    Configuration("indi"),
    Configuration("stop"),
    Configuration("bridge", domain="pixels", name="bridge_pixels"),
]


def table_of(files):
    return pd.read_parquet(io.BytesIO(files["evaluation.parquet"]))


@pytest.fixture(scope="module")
def from_every_level(upstreams):
    """Table and final metrics of BEGUN from every level."""
    fields.forget()  # what other tests computed otherwise
    with torch.backends.mkldnn.flags(enabled=False):  # which rounds an image as those beside it in a batch ask for
        files, final = alone(upstreams, Config(tuple(replace(one, lower_starts=True) for one in BEGUN), full=True))
    return table_of(files), final, files


@pytest.mark.parametrize("start", [1, 2])
def test_a_loop_from_a_lower_level_is_that_from_the_top_of_the_series_cut_there(upstreams, from_every_level, start):
    series, folders = upstreams
    frames = tuple(replace(field, frames=field.frames[: start + 1]) for field in series.fields)
    per_level = {name: getattr(series, name)[: start + 1] for name in ("pinholes", "offset", "scale")}
    table, final, _ = from_every_level
    with torch.backends.mkldnn.flags(enabled=False):
        cut, of_cut = alone((replace(series, fields=frames, **per_level), folders), Config(tuple(BEGUN), full=True))
    cut = table_of(cut)
    for one in BEGUN:
        same = cut[cut["variant"] == one.label].drop(columns="variant")
        rows = table[table["variant"] == f"{one.label}_from_{start}"][same.columns]
        assert len(rows) == 5 * start and (rows["start"] == start).all()
        rows, same = rows.reset_index(drop=True), same.reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, same, rtol=1e-5, atol=1e-5)
        gap = final[f"val/gap_db_{one.label}_from_{start}"]
        assert gap == pytest.approx(of_cut[f"val/gap_db_{one.label}"], abs=1e-6), "the baselines are of its own level"


@pytest.mark.parametrize("one", BEGUN, ids=lambda one: one.label)
def test_a_loop_from_a_lower_level_is_the_loop_on_what_lies_below_it(upstreams, from_every_level, one):
    series, folders = upstreams
    domain, start = LoopDomain(one.domain, folders, "cpu"), 2
    x, x_train = (torch.from_numpy(series.x(split)[:, : start + 1]) for split in ("validation", "train"))
    z, z_train = domain.encode(x), domain.encode(x_train)
    alpha = schedules.fitted(torch.cat([group.flatten(2) for group in z_train], 2)).tolist()
    moments, z_start = moments_of(z_train), at_level(z, start)
    degrader = weights.load(folders[one.degrader], "cpu")

    def G(z0_hat, s, z_t):
        return degrader(z0_hat, s, z_t) if one.degrader == "anchored" else degrader(z0_hat, s)

    def P(z):
        return domain.E(domain.Dec(z)[..., :40, :45])

    def match(z, t):
        return matched(z, t, moments, z_start if one.match == "moments_of_field" else None)

    with torch.no_grad():
        networks = inference.Networks(domain.R, G, P, match=match)
        found = inference.VARIANTS[one.variant](z_start, networks, one.settings(start, alpha))
        images = [domain.Dec(z0_hat)[:, 0, :40, :45] for z0_hat in found.z0_hat]
    by_hand = [metrics.psnr(image, torch.from_numpy(series.x("validation")[:, 0])).tolist() for image in images]
    drifts = [metrics.drift(z_t, at_level(z, start - k)).tolist() for k, z_t in enumerate(found.z)]
    rows = from_every_level[0].query(f"variant == '{one.label}_from_2'").sort_values("step", kind="stable")
    assert rows["psnr"].to_numpy() == pytest.approx(np.ravel(by_hand), abs=1e-4)
    assert rows["drift"].to_numpy() == pytest.approx(np.ravel(drifts), abs=1e-5)
    assert rows["level"].to_numpy().tolist() == [2] * 5 + [1] * 5


def test_loops_from_every_level_call_each_network_once_for_every_distinct_prefix(upstreams, monkeypatch):
    series, _ = upstreams
    monkeypatch.setattr(loops, "PIXELS_ON_CPU", 2**30)
    chosen = [Configuration("direct"), Configuration("refine_R", num_refinements=1), Configuration("combine_z", LINEAR)]
    chosen.append(Configuration("direct", match="moments", name="matched"))
    batch = stage(upstreams, Config(tuple(replace(one, lower_starts=True) for one in chosen)))
    final = batch.train_epoch()
    of_starts = [
        distinct_calls((one.variant, one.degrader, "none", one.settings(start, ())) for one in chosen)
        for start in range(1, series.T + 1)
    ]
    expected = {name: sum(found[name] for found in of_starts) for name in ("R", "G", "P")}
    assert {name: batch.called[name] for name in expected} == expected
    assert {name: final[f"calls/{name}"] for name in expected} == expected
    assert expected["R"] < sum(len(chosen) * start for start in range(1, series.T + 1)), "the first step is shared"


def test_tables_tell_the_start_and_pictures_are_those_from_the_top(from_every_level):
    table, final, files = from_every_level
    assert (table["start"] == table["level"] + table["step"]).all()
    of_start = table.groupby("variant")["start"].agg(["min", "max"])
    assert (of_start["min"] == of_start["max"]).all(), "no name stands for two starts"
    assert of_start.loc["direct", "min"] == of_start.loc["unet", "min"] == of_start.loc["teacher_forced", "min"] == T
    assert set(table[table["variant"] == "unet"]["level"]) == set(range(1, T + 1))
    pictures = safetensors.torch.load(files["examples.safetensors"])
    assert "direct/steps" in pictures and not [name for name in pictures if "_from_" in name]
    unet = table[(table["variant"] == "unet") & (table["level"] == 1)]["psnr"].mean()
    assert final["val/psnr_unet"] != pytest.approx(unet), "what is called PSNR of the UNet is that at T"


def test_a_search_from_a_lower_level_scores_the_baselines_there(upstreams):
    files, final = alone(upstreams, Config((Configuration("direct", start=2),)))
    table = table_of(files)
    assert set(table[table["variant"] == "unet"]["level"]) == {2, T}
    mean = table.groupby(["variant", "level"])["psnr"].mean()
    best = max(mean[name, 2] for name in iterative.BASELINES)
    assert final["val/gap_db"] == pytest.approx(mean["direct_from_2", 1] - best, abs=1e-9)


def test_a_start_that_the_series_does_not_have_is_refused(upstreams):
    with pytest.raises(ValueError, match=r"`start` must be a level of the series, 1 … 3, but 'direct_from_4' has 4\."):
        stage(upstreams, Config((Configuration("direct", start=4),)))
    with pytest.raises(ValueError, match=r"`start >= 0` must hold \(0 stands for T\), but got -1"):
        Configuration("direct", start=-1)
    twice = (Configuration("direct", lower_starts=True), Configuration("direct", start=2))
    with pytest.raises(ValueError, match=r"stand twice: \['direct_from_2'\]"):
        stage(upstreams, Config(twice))


def test_what_draws_random_numbers_follows_the_seed_even_when_warm(upstreams):
    config = Config((CONFIGURATIONS[0],))
    (_, first), (_, other), (_, again) = (alone(upstreams, config, seed) for seed in (3, 4, 3))
    assert first == again and first["val/psnr_hdn"] != other["val/psnr_hdn"]
    assert first["val/psnr"] == other["val/psnr"]


def test_a_warm_process_loads_and_encodes_nothing_again(upstreams, monkeypatch):
    config = Config(tuple(CONFIGURATIONS[:2]), full=True)
    before = alone(upstreams, config)
    monkeypatch.setattr(weights, "load", lambda *_: pytest.fail("loaded again"))
    monkeypatch.setattr(iterative.LoopDomain, "encode", lambda *_: pytest.fail("encoded again"))
    assert alone(upstreams, config) == before


def test_a_full_evaluation_tells_of_every_group_at_every_level(upstreams):
    files, _ = alone(upstreams, Config((CONFIGURATIONS[0],), full=True))
    records = json.loads(files["latent_space.json"])
    assert [(one["level"], one["group"]) for one in records] == [(t, i) for t in range(T + 1) for i in (1, 2, 3)]
    table = pd.DataFrame(records)
    assert table[["psnr", "psnr_lost"]].notna().all(axis=None) and table["outside"].between(0, 1).all()
    rows = pd.read_parquet(io.BytesIO(files["evaluation.parquet"]))
    ceiling = rows[rows["variant"] == "ceiling_truth"]["psnr"].mean()  # of the frames, as this series has no truth
    assert table[table["level"] == 0]["psnr"].to_numpy() == pytest.approx(ceiling, abs=1e-6)


def test_a_full_evaluation_tells_how_images_and_latents_walk_and_of_noise_free_ones_where_they_are_known(upstreams):
    series, folders = upstreams
    files, _ = alone(upstreams, Config((CONFIGURATIONS[0],), full=True))
    real = pd.DataFrame(json.loads(files["path.json"]))
    assert set(real["seen"]) == {"frames"} and real["value"].notna().all()
    counted = real.groupby(["domain", "measure"])["group"].nunique()
    assert counted["latents", "length"] == 4 and counted["pixels", "next"] == 2  # each group, and all together
    x = series.x("validation")
    steps = np.diff(x.reshape(5, T + 1, -1), axis=1)
    by_hand = np.linalg.norm(steps, axis=2).sum(1) / np.linalg.norm(steps.sum(1), axis=1)
    (length,) = real.query("domain == 'pixels' and measure == 'length' and group == 0")["fields"]
    assert length == pytest.approx(by_hand.tolist(), rel=1e-5)
    simulated = replace(series, fields=tuple(replace(field, truth=field.frames + 1) for field in series.fields))
    files, _ = alone((simulated, folders), Config((CONFIGURATIONS[0],), full=True))
    assert {one["seen"] for one in json.loads(files["path.json"])} == {"frames", "truth"}


def test_no_more_than_two_splits_are_kept(upstreams):
    series, _ = upstreams
    first = fields.fields_of(series, "validation", "cpu")
    fields.fields_of(series, "test", "cpu")
    assert fields.fields_of(series, "validation", "cpu") is first
    fields.fields_of(series, "train", "cpu")
    fields.fields_of(series, "test", "cpu")
    assert fields.fields_of(series, "validation", "cpu") is not first


def test_tables_of_a_batch_hold_the_rows_of_their_configuration_alone(upstreams, tmp_path):
    configs = [Config((one,)) for one in CONFIGURATIONS[:3]]
    batch = stage(upstreams, joined(configs))
    batch.train_epoch()
    for config, (files, final) in zip(configs, batch.finish_each(configs), strict=True):
        (tmp_path / "table").write_bytes(files["evaluation.parquet"])
        table = pd.read_parquet(tmp_path / "table")
        label = config.configurations[0].label
        one_shots = {*iterative.BASELINES, "input", "autoencoded", "ceiling_frame", "ceiling_truth"}
        assert set(table["variant"]) == {*one_shots, label}
        rows = table[table["variant"] == label]
        assert len(rows) == 5 * T and rows.set_index("step").loc[0, "level"].eq(T).all()
        assert rows[rows["level"] == 1]["psnr"].mean() == pytest.approx(final["val/psnr"], abs=1e-9)
    assert torch.is_grad_enabled()


def test_what_is_joined_agrees_in_all_but_the_configurations():
    one, other = Config((Configuration("direct"),)), Config((Configuration("direct", name="mine"),))
    assert [c.name for c in joined([one, other, one]).configurations] == ["0"]  # a name makes no other trajectory
    with pytest.raises(ValueError, match="must agree in all but the configurations"):
        joined([one, Config((Configuration("stop"),), split="test")])


def test_a_full_evaluation_keeps_the_pictures_of_each_loops_worst_and_best_field(upstreams):
    table, files = evaluated(upstreams, num_examples=5)
    record, pictures = json.loads(files["extremes.json"]), safetensors.torch.load(files["examples.safetensors"])
    at_T = table[table["level"] == T].pivot(index="field", columns="variant", values="psnr")
    assert record["baseline"] == at_T[list(iterative.BASELINES)].mean().idxmax()
    ends = table[(table["variant"] == "direct") & (table["level"] == 1)].set_index("field")["psnr"]
    gap = ends - at_T[record["baseline"]]
    assert record["loops"]["direct"] == [gap.idxmin(), gap.idxmax()]
    assert record["fields"] == sorted({gap.idxmin(), gap.idxmax()})
    names = list(table["field"].unique())
    for k, name in enumerate(record["loops"]["direct"]):
        assert torch.equal(pictures["direct/extremes"][k], pictures["direct"][names.index(name)])
    for name in ("input", "truth", record["baseline"]):
        for k, field in enumerate(record["fields"]):
            assert torch.equal(pictures[f"{name}/extremes"][k], pictures[name][names.index(field)])
