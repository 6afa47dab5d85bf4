"""The figures of a comparison as text, and the bounds that they must keep."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, median, stdev
from typing import Any

AT_MOST_BELOW_DB = 0.1
AT_MOST_TIMES_AS_LONG = 1.0
AT_MOST_LARGER = 0.2  # and smaller, in parameters
ROWS: dict[str, tuple[str, Callable[[list[float]], float]]] = {
    "PSNR at T": ("psnr", lambda by_level: by_level[-1]),
    "PSNR over all levels": ("psnr", fmean),
    "range-invariant at T": ("psnr_ri", lambda by_level: by_level[-1]),
    "range-invariant over all levels": ("psnr_ri", fmean),
}


def scores(side: dict[str, Any], row: str) -> list[float]:
    """One row's figure in dB of each seed of a side."""
    metric, over_levels = ROWS[row]
    return [over_levels(seed[metric]) for seed in side["seeds"]]


def step_ms(side: dict[str, Any], clock: str = "wall_s") -> float:
    """The median time of a training step, over all seeds; clock: wall_s | cpu_s."""
    return 1e3 * median(seconds for seed in side["seeds"] for seconds in seed[clock])


def report(record: dict[str, Any]) -> str:
    """A table in Markdown for each method, and what was chosen."""
    lines = [
        f"{record['steps']} steps of {record['batch']} patches of {record['patch_px']} px, levels {record['levels']}, "
        f"{record['threads']} thread(s) a side, {record['date']}"
    ]
    for method, sides in record["methods"].items():
        ours, theirs = sides["ours"], sides["careamics"]
        lines += ["", f"| {method} | ours | CAREamics | ours less theirs |", "|---|---|---|---|"]
        for row in ROWS:
            a, b = scores(ours, row), scores(theirs, row)
            gap = [x - y for x, y in zip(a, b, strict=True)]
            lines.append(f"| {row}, dB | {spread(a)} | {spread(b)} | {spread(gap, '+')} |")
        for clock, words in (("wall_s", "median step"), ("cpu_s", "median CPU time of a step")):
            a_ms, b_ms = step_ms(ours, clock), step_ms(theirs, clock)
            lines.append(f"| {words}, ms | {a_ms:.1f} | {b_ms:.1f} | {a_ms / b_ms:.2f} times |")
        counts = [side["num_parameters"] for side in (ours, theirs)]
        lines.append(f"| parameters | {counts[0]:,} | {counts[1]:,} | {counts[0] / counts[1]:.2f} times |")
        for name, side in sides.items():
            every = ", ".join(f"{shown(setting)} {psnr:.2f}" for setting, psnr in side["tried"])
            lines.append(f"\n{method}, {name}: {shown(side['setting'])} of {every} (dB at T on validation)")
            for setting in side["diverged"]:
                lines.append(f"{shown(setting)} diverged in the whole length of training and was given up.")
    return "\n".join(lines)


def shown(setting: dict[str, Any]) -> str:
    """What differs between a side's settings."""
    return " ".join(f"{key} {setting[key]}" for key in ("loss", "residual", "kl_weight", "lr") if key in setting)


def spread(values: list[float], sign: str = "") -> str:
    """Mean and standard deviation over seeds."""
    about = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
    return f"{fmean(values):{sign}.2f}{about}"


def broken(record: dict[str, Any]) -> list[str]:
    """What is not as it is asked for."""
    found = []
    rows = ["PSNR at T"] + ["PSNR over all levels"] * (record["levels"] == "all")
    for method, sides in record["methods"].items():
        ours, theirs = sides["ours"], sides["careamics"]
        for row in rows:
            gap = fmean(scores(ours, row)) - fmean(scores(theirs, row))
            if not gap >= -AT_MOST_BELOW_DB:
                found.append(f"{method}: {row} must be at most {AT_MOST_BELOW_DB} dB below, but is {-gap:.2f} dB below")
        times = step_ms(ours) / step_ms(theirs)
        if not times <= AT_MOST_TIMES_AS_LONG:
            found.append(
                f"{method}: a step must take at most {AT_MOST_TIMES_AS_LONG} times as long, but takes {times:.2f}"
            )
        larger = ours["num_parameters"] / theirs["num_parameters"]
        if not abs(larger - 1) <= AT_MOST_LARGER:
            found.append(
                f"{method}: parameters must agree within {AT_MOST_LARGER:.0%}, but ours are {larger:.2f} times theirs"
            )
    return found
