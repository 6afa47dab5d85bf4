"""A confirmed experiment with known numbers, written as the iterative stage and the studies write one."""

import io
import json
from itertools import product

import numpy as np
import pandas as pd
from safetensors.numpy import save
from scipy.ndimage import gaussian_filter

from dehazing.pipeline.store import Store

EXPERIMENT = "planted-quickstart"
CLASSICAL = {"rolling_ball": 27.0, "richardson_lucy": 25.0, "unet_turned": 31.9}  # PSNR at T, where alone they stand
UNET, NAFNET, HDN, INPUT, AUTOENCODED, CEILING = 31.7, 32.1, 32.9, 24.0, 23.5, 38.0
STRUCTURE = 0.1  # share of the pixels
ON_BACKGROUND = {"direct_blind": 0.8}  # share of a method's own squared error; of the others 0.5
ENDS = {  # PSNR of the last prediction; all start at 31.5
    "direct": 30.2,
    "combine_z_previous": 30.9,
    "combine_z_first": 31.0,
    "combine_z0_previous": 30.95,
    "combine_z0_first": 31.2,
    "combine_both_previous": 31.1,
    "combine_both_first": 31.3,
    "refine_G": 30.4,
    "refine_R": 30.7,
    "refine_both": 30.5,
    "residual": 32.1,
    "bridge": 31.0,
    "identity": 30.1,
    "stop": 31.5,
    "direct_blind": 24.8,
    "combine_z_previous_blind": 28.05,
    "combine_z_first_blind": 29.0,
    "combine_z0_previous_blind": 27.95,
    "combine_z0_first_blind": 29.3,
    "refine_both_blind": 28.8,
    "residual_blind": 30.6,
    "direct_anchored": 30.3,
    "combine_z_previous_anchored": 30.8,
    "combine_z_first_anchored": 31.05,
    "combine_z0_previous_anchored": 31.0,
    "combine_z0_first_anchored": 31.2,
    "refine_both_anchored": 30.5,
    "residual_anchored": 31.9,
    "direct_pixels": 25.5,
    "bridge_pixels": 28.5,
    "teacher_forced": 33.6,
}
START = 31.5


def plant(root, seeds=(101, 102), T=6, num_fields=16, size=48, variants=ENDS, records=True, lower=None, **changes):
    """Publishes one iterative execution per seed below `root`, writes confirm.json and trials.json.

    lower: variant → start below T → its gap to the UNet there, at its end.
    """
    store = Store(root)
    addresses = {}
    for seed in seeds:
        addresses[str(seed)] = f"iterative/{seed:016x}"
        table = evaluation(seed, T, num_fields, variants, lower or {})
        extremes = _extremes(table, variants)
        store.publish(
            addresses[str(seed)],
            {
                "evaluation.parquet": _parquet(table),
                "one_step.json": json.dumps(_one_step(seed, T)).encode(),
                "latent_space.json": json.dumps(latent_space(T)).encode(),
                "path.json": json.dumps(path(T, num_fields)).encode(),
                "examples.safetensors": save(_examples(size, T, variants, extremes)),
                "metrics.json": json.dumps({"final": {}, "history": [], "seconds": 3.0, "device": "cpu"}).encode(),
            }
            | (_records(seed, T) | {"extremes.json": json.dumps(extremes).encode()} if records else {}),
        )
    store.publish(
        "degrader/00000000000000aa",
        {
            "metrics.json": json.dumps(
                {"final": {"val/psnr_direct": 25.5}, "history": [], "seconds": 9.0, "device": "cpu"}
            ).encode()
        },
    )
    confirmation = {
        "experiment": EXPERIMENT,
        "dataset": "0123456789abcdef",
        "dataset_title": "Simulated lines",
        "scale": "quickstart",
        "seeds": list(seeds),
        "T": T,
        "pinholes": [0.5, 1, 2, 3, 4, 6, 20][: T + 1],
        "pinhole_unit": "au",
        "regions_of_one_field": False,
        "notes": ["Settings were out of order and have been sorted."],
        "score_against": "truth",
        "iterative": addresses,
        "stages": {"unet": {str(seed): f"unet/{seed:016x}" for seed in seeds}},
        "chosen": {
            "unet": {"number": 1, "value": 31.9, "config": {"num_epochs": 9}, "params": {"width": 16, "lr": 0.001}},
            "hvae": {"number": 0, "value": [41.5, 0.2], "config": {"num_epochs": 9}, "params": {"beta": 0.05}},
            "degrader": {"number": 2, "value": 25.5, "config": {"anchor": "z_T"}, "params": {"lambda_cyc": 10.0}},
        },
        "loops": [{"name": "combine_z_first", "variant": "combine_z", "alpha": {"kind": "power", "exponent": 2.0}}],
        "baselines": ["unet", "nafnet", "hdn"],
        "git_commit": "abc1234",
        "command": "python -m studies run all",
        "seconds": 812.0,
    } | changes
    folder = store.root / EXPERIMENT
    folder.mkdir(parents=True)
    (folder / "confirm.json").write_text(json.dumps(confirmation))
    (folder / "trials.json").write_text(json.dumps(trials()))
    return EXPERIMENT


def latent_space(T, lost=(9.0, 2.0, 0.5)):
    """Groups of known use; the finest lies outside the more, the hazier."""
    return [
        {"level": t, "group": i + 1, "psnr": 40.0, "psnr_lost": of_group, "outside": 0.002 + 0.01 * t * (i == 0)}
        for t in range(T + 1)
        for i, of_group in enumerate(lost)
    ]


def path(T, num_fields, latents=1.1, pixels=1.3):
    """Lengths a hundredth apart from field to field, shares that fall with the level; of three groups."""
    records = []
    for seen, domain, length in (
        ("frames", "pixels", pixels + 1),
        ("frames", "latents", latents + 1),
        ("truth", "pixels", pixels),
        ("truth", "latents", latents),
    ):
        for group in range(4 if domain == "latents" else 2):
            at = {"seen": seen, "domain": domain, "group": group}
            fields = [length + 0.01 * f for f in range(num_fields)]
            records.append(
                {**at, "measure": "length", "level": None, "value": float(np.mean(fields)), "fields": fields}
            )
            for measure, best, levels in (
                ("alpha", 0.95, range(1, T)),
                ("span", 0.97, range(1, T)),
                ("next", 0.915, range(T)),
            ):
                records += [
                    {**at, "measure": measure, "level": s, "value": best - 0.01 * s, "fields": None} for s in levels
                ]
    return records


def evaluation(seed, T, num_fields, variants, lower=()):
    rng = np.random.default_rng(seed)
    rows = []
    for f in range(num_fields):
        field = rng.normal(0, 1.0)

        def add(name, step, level, mean, drift=np.nan, field=field, f=f):
            psnr = mean + field + rng.normal(0, 0.1)
            rows.append(
                {"variant": name, "field": f"field-{f:02d}", "step": step, "level": level, "start": level + step}
                | {"psnr": psnr}
                | {"psnr_ri": psnr + 0.2, "ssim": psnr / 40, "mse": 10 ** (-psnr / 10)}
                | {f"band_{k}": 0.05 * (k + 1) for k in range(4)}
                | {f"power_{k}": 1 - 0.1 * k for k in range(4)}
                | {f"coherence_{k}": 1 - 0.2 * k for k in range(4)}
                | {"ms_ssim": psnr / 45, "micro_ms3im": psnr / 50, "frc_px": 2.5, "background": 0.01, "line_f1": 0.9}
                | on_places(name, psnr)
                | {"drift": drift, "drift_cosine": 1 - drift, "norm_ratio": 1 - drift / 2}
            )

        add("ceiling_truth", 0, T, CEILING + 8)
        add("ceiling_frame", 0, T, CEILING)
        for k in range(T):
            add("unet", k, T - k, UNET + k)
            add("nafnet", k, T - k, NAFNET + k)
            add("hdn", k, T - k, HDN + k)
            add("input", k, T - k, INPUT + k)
            add("autoencoded", k, T - k, AUTOENCODED + k)
            for name, end in variants.items():
                share = k / max(T - 1, 1)
                latent = np.nan if name.endswith("pixels") else 0.3 + 0.1 * share * (START + 1 - end)
                add(name, k, T - k, START + (end - START) * share**0.7, latent)
        for name in lower:
            for start, gap in lower[name].items():
                for k in range(start):
                    add(f"{name}_from_{start}", k, start - k, UNET + T - start + gap - (start - 1 - k), 0.3)
    for f, name in product(range(num_fields), CLASSICAL):
        row = next(row for row in rows if row["variant"] == "input" and row["field"] == f"field-{f:02d}")
        psnr = row["psnr"] - INPUT + CLASSICAL[name]
        rows.append({**row, "variant": name, "psnr": psnr, "psnr_ri": psnr + 0.2, **on_places(name, psnr)})
    return pd.DataFrame(rows)


def on_places(name, psnr):
    """PSNR on structure and background, so that so much of a method's squared error lies on each."""
    error, share = 10 ** (-psnr / 10), ON_BACKGROUND.get(name, 0.5)
    of_background, of_structure = share * error / (1 - STRUCTURE), (1 - share) * error / STRUCTURE
    found = {"psnr_structure": of_structure, "psnr_background": of_background}
    return {place: -10 * np.log10(value) for place, value in found.items()} | {"structure_share": STRUCTURE}


def _records(seed, T):
    records = {"hdn_samples": hdn_samples(seed, T), "classical": classical(T)}
    return {f"{name}.json": json.dumps(record).encode() for name, record in records.items()}


def hdn_samples(seed, T):
    spread = np.linspace(0.1, 0.5, 12)
    bins = [{"spread": float(s), "rmse": float(1.5 * s + 0.01 * seed)} for s in spread]
    return {
        "level": T,
        "num_samples": 8,
        "psnr": [{"num": num, "psnr": HDN - 1 / num} for num in (1, 2, 4, 8)],
        "spread": 0.25,
        "calibration": {"bins": bins, "slope": 1.5, "intercept": 0.01 * seed},
    }


def classical(T):
    ball = {"control": "rolling_ball", "setting": "radius", "value": 16, "candidates": [8, 16], "gain": 1, "offset": 0}
    lucy = {"control": "richardson_lucy", "setting": "num_iterations", "value": 10, "candidates": [5, 10]}
    return {"level": T, "chosen": [ball, lucy | {"gain": 1, "offset": 0}], "left_out": {"wiener": "No PSF, no Wiener."}}


def trials():
    records = []
    for number, (state, value) in enumerate([("COMPLETE", 30.1), ("COMPLETE", 31.9), ("PRUNED", 25.0)]):
        records.append(
            {"study": "unet", "stage": "unet", "number": number, "state": state, "seed": 7, "seconds": 20.0 + number}
            | {"params": {"width": 8 * (number + 1), "lr": 1e-3}, "metrics": {"val/psnr": value, "config/width": 8}}
            | {"fingerprint": f"{number:016x}", "upstreams": {}, "mlflow_run_id": f"run{number}", "device": "cpu"}
            | {"reason": "stopped early" if state == "PRUNED" else None}
        )
    records.append(
        {"study": "degrader", "stage": "degrader", "number": 2, "state": "COMPLETE", "seed": 7, "seconds": None}
        | {"params": {"lambda_cyc": 10.0, "shared": True, "width": "wide"}, "metrics": {}, "device": None}
        | {"fingerprint": "00000000000000aa", "upstreams": {"hvae": "hvae/1f"}, "mlflow_run_id": None}
        | {"reason": None}
    )
    return records


def _one_step(seed, T):
    rng = np.random.default_rng(seed)
    means = {"blind": 0.5, "anchored": 0.29, "degrader": 0.3, "leave": 0.31, "bridge": 0.35}
    return [
        {"degrader": name, "domain": "latents", "level": s, "error": mean * (1 + 0.1 * s) + rng.normal(0, 0.01)}
        for name, mean in means.items()
        for s in range(1, T)
    ] + [{"degrader": "pixels", "domain": "pixels", "level": s, "error": 0.1} for s in range(1, T)]


def _extremes(table, variants):
    """The worst and the best field of every loop against this seed's best baseline, as the stage tells of them."""
    of_all = table[table["step"] == 0].pivot(index="field", columns="variant", values="psnr")[["unet", "nafnet", "hdn"]]
    baseline = of_all.mean().idxmax()
    at_T = of_all[baseline]
    ends = table[table["level"] == 1]
    gaps = {name: ends[ends["variant"] == name].set_index("field")["psnr"] - at_T for name in variants}
    gaps = {name: gap.fillna(-np.inf) for name, gap in gaps.items()}
    loops = {name: [gap.idxmin(), gap.idxmax()] for name, gap in gaps.items()}
    fields = sorted({field for pair in loops.values() for field in pair})
    return {"baseline": baseline, "fields": fields, "loops": loops}


def _examples(size, T, variants, extremes):
    rng = np.random.default_rng(0)
    truth = np.zeros((3, size, size), np.float32)
    for image in truth:
        for _ in range(6):
            x, y = rng.uniform(0, size, 2)
            angle = rng.uniform(0, np.pi)
            s = np.linspace(-size, size, 8 * size)
            xs, ys = (x + s * np.cos(angle)).astype(int), (y + s * np.sin(angle)).astype(int)
            inside = (xs >= 0) & (xs < size) & (ys >= 0) & (ys < size)
            image[ys[inside], xs[inside]] = 1
    truth = gaussian_filter(truth, (0, 0.8, 0.8)).astype(np.float32)

    def blurred(sigma):
        return gaussian_filter(truth, (0, sigma, sigma)).astype(np.float32)

    images = {
        "truth": truth,
        "frame": truth + rng.normal(0, 0.05, truth.shape),
        "input": blurred(5) + 0.2,
        "unet": blurred(1),
        "nafnet": blurred(0.9),
        "hdn": blurred(0.8),
    }
    for name, end in variants.items():
        images[name] = blurred((35 - end) / 3)
        sigmas = [(35 - (START + (end - START) * k / max(T - 1, 1))) / 3 for k in range(T)]
        images[f"{name}/steps"] = np.stack([blurred(sigma) for sigma in sigmas])
    which = [k % len(truth) for k, _ in enumerate(extremes["fields"])]
    images |= {f"{name}/extremes": images[name][which] for name in ("input", extremes["baseline"], "truth")}
    for name, pair in extremes["loops"].items():
        images[f"{name}/extremes"] = images[name][[which[extremes["fields"].index(field)] for field in pair]]
    return {name: np.ascontiguousarray(image, np.float32) for name, image in images.items()}


def _parquet(table):
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()
