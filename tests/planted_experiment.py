"""A confirmed experiment with known numbers, written as the iterative stage and the studies write one."""

import io
import json

import numpy as np
import pandas as pd
from safetensors.numpy import save
from scipy.ndimage import gaussian_filter

from dehazing.pipeline.store import Store

EXPERIMENT = "planted-quickstart"
UNET, HDN, INPUT, ROUNDTRIP, CEILING = 31.7, 32.9, 24.0, 23.5, 38.0
ENDS = {  # PSNR of the last prediction; all start at 31.5
    "direct": 24.8,
    "combine_z_previous": 28.05,
    "combine_z_first": 29.0,
    "combine_z0_previous": 27.95,
    "combine_z0_first": 29.3,
    "combine_both_previous": 29.2,
    "combine_both_first": 29.9,
    "refine_G": 29.15,
    "refine_R": 29.85,
    "refine_both": 28.8,
    "residual": 30.6,
    "stop": 31.5,
    "identity": 30.1,
    "bridge": 31.0,
    "pixel_eq2": 28.5,
    "pixel_G": 25.5,
    "direct_anchored": 30.2,
    "combine_z_previous_anchored": 30.9,
    "combine_both_first_anchored": 31.2,
    "refine_G_anchored": 30.4,
    "refine_both_anchored": 30.5,
    "residual_anchored": 31.9,
}
START = 31.5


def plant(root, seeds=(101, 102), T=6, num_fields=16, size=48, variants=ENDS, **changes):
    """Publishes one iterative execution per seed below `root`, writes confirm.json and trials.json."""
    store = Store(root)
    addresses = {}
    for seed in seeds:
        addresses[str(seed)] = f"iterative/{seed:016x}"
        store.publish(
            addresses[str(seed)],
            {
                "evaluation.parquet": _parquet(evaluation(seed, T, num_fields, variants)),
                "one_step.json": json.dumps(_one_step(seed, T)).encode(),
                "examples.safetensors": save(_examples(size, T, variants)),
                "metrics.json": json.dumps({"final": {}, "history": [], "seconds": 3.0, "device": "cpu"}).encode(),
            },
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
            "unet": {"number": 1, "value": 31.9, "config": {"width": 16, "lr": 0.001}},
            "degrader": {"number": 2, "value": 25.5, "config": {"lambda_cyc": 10.0, "anchor": "none"}},
        },
        "baselines": ["unet", "hdn"],
        "git_commit": "abc1234",
        "command": "python -m studies run all",
        "seconds": 812.0,
    } | changes
    folder = store.root / EXPERIMENT
    folder.mkdir(parents=True)
    (folder / "confirm.json").write_text(json.dumps(confirmation))
    (folder / "trials.json").write_text(json.dumps(trials()))
    return EXPERIMENT


def evaluation(seed, T, num_fields, variants):
    rng = np.random.default_rng(seed)
    rows = []
    for f in range(num_fields):
        field = rng.normal(0, 1.0)

        def add(name, step, level, mean, drift=np.nan, field=field, f=f):
            psnr = mean + field + rng.normal(0, 0.1)
            rows.append(
                {"variant": name, "field": f"field-{f:02d}", "step": step, "level": level, "psnr": psnr}
                | {"psnr_ri": psnr + 0.2, "ssim": psnr / 40, "mse": 10 ** (-psnr / 10)}
                | {f"band_{k}": 0.05 * (k + 1) for k in range(4)}
                | {f"power_{k}": 1 - 0.1 * k for k in range(4)}
                | {"drift": drift, "drift_cosine": 1 - drift, "norm_ratio": 1 - drift / 2}
            )

        for k in range(T):
            add("unet", k, T - k, UNET + k)
            add("hdn", k, T - k, HDN + k)
            add("input", k, T - k, INPUT + k)
            add("roundtrip", k, T - k, ROUNDTRIP + k)
            add("ceiling_truth", k, T - k, CEILING + 8)
            add("ceiling_frame", k, T - k, CEILING)
            for name, end in variants.items():
                share = k / max(T - 1, 1)
                latent = np.nan if name.startswith("pixel") else 0.3 + 0.1 * share * (START + 1 - end)
                add(name, k, T - k, START + (end - START) * share**0.7, latent)
    return pd.DataFrame(rows)


def trials():
    records = []
    for number, (state, value) in enumerate([("complete", 30.1), ("complete", 31.9), ("pruned", 25.0)]):
        records.append(
            {"study": "unet", "stage": "unet", "number": number, "state": state, "seed": 7, "seconds": 20.0 + number}
            | {"params": {"width": 8 * (number + 1), "lr": 1e-3}, "metrics": {"val/psnr": value}}
            | {"fingerprint": f"{number:016x}", "upstreams": {}, "mlflow_run_id": f"run{number}", "device": "cpu"}
            | {"reason": "stopped early" if state == "pruned" else None}
        )
    records.append(
        {"study": "degrader", "stage": "degrader", "number": 2, "state": "complete", "seed": 7, "seconds": None}
        | {"params": {"lambda_cyc": 10.0, "shared": True, "width": "wide"}, "metrics": {}, "device": None}
        | {"fingerprint": "00000000000000aa", "upstreams": {"hvae": "hvae/1f"}, "mlflow_run_id": None}
        | {"reason": None}
    )
    return records


def _one_step(seed, T):
    rng = np.random.default_rng(seed)
    means = {"blind": 0.5, "anchored": 0.29, "leave": 0.31, "bridge": 0.35}
    return [
        {"degrader": name, "level": s, "error": mean * (1 + 0.1 * s) + rng.normal(0, 0.01)}
        for name, mean in means.items()
        for s in range(1, T)
    ]


def _examples(size, T, variants):
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

    images = {"truth": truth, "input": blurred(5) + 0.2, "unet": blurred(1), "hdn": blurred(0.8)}
    for name, end in variants.items():
        images[name] = blurred((34 - end) / 3)
        sigmas = [(34 - (START + (end - START) * k / max(T - 1, 1))) / 3 for k in range(T)]
        images[f"{name}/steps"] = np.stack([blurred(sigma)[0] for sigma in sigmas])
    return {name: np.ascontiguousarray(image, np.float32) for name, image in images.items()}


def _parquet(table):
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()
