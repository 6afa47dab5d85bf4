"""Where in a field a method errs, on its structure or on its background, and where a loop adds to a baseline's error.

What is structure, dehazing/metrics/place.py tells. Squared errors are over the square of each field's range, as PSNR
has them, so that bright fields count no more than others; with f the share of the pixels that are structure,
error = f · error on structure + (1 - f) · error on background.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.attribution import ratio
from analysis.crossed import interval
from analysis.scores import at_the_end, best_baseline, values_of
from analysis.variants import in_reading_order, the, title

PLACES = ("structure", "background")
SHARE = "structure_share"
TOLD = {-1: "more", 0: "no difference is shown", 1: "less"}  # of the squared error
COLUMNS = (
    *("method", "place", "share_of_pixels", "psnr", "share_of_error"),
    *("baseline", "gap", "ci_low", "ci_high", "num_fields", "num_seeds"),
)


def by_place(trajectories: pd.DataFrame) -> pd.DataFrame:
    """One row per method and place, COLUMNS: PSNR there (dB), the gap to the best baseline there, the share of its own
    error.

    At T or at the last step of a loop; means over fields and seeds, the gaps with intervals as all others have, the
    baseline without one; it is the best one on the whole fields, as everywhere. A loop that diverged has NaN. Fields
    whose places are not known are left out; empty where there are none or it was not measured.
    """
    ends = _ends(trajectories)
    if not len(ends):
        return pd.DataFrame(columns=list(COLUMNS))
    names, baseline = in_reading_order(ends["variant"]), best_baseline(at_the_end(trajectories))
    errors = {name: _errors(ends, name) for name in names}
    rows = []
    for place in PLACES:
        psnr = {name: _crossed(ends, name, f"psnr_{place}") for name in names}
        found = interval(np.stack([psnr[name] - psnr[baseline] for name in names]))
        share = ends[SHARE].mean() if place == "structure" else 1 - ends[SHARE].mean()
        for name, gap, low, high in zip(names, found.gap, found.ci_low, found.ci_high, strict=True):
            mean, whole = psnr[name].mean(), sum(part.mean() for part in errors[name].values())
            of_error = errors[name][place].mean() / whole if whole > 0 else np.nan
            to_baseline = (gap, low, high) if name != baseline else (np.nan,) * 3
            num_seeds, num_fields = psnr[name].shape
            rows.append((name, place, share, mean, of_error, baseline, *to_baseline, num_fields, num_seeds))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def place_sentence(trajectories: pd.DataFrame, variant: str) -> str:
    """ "Of direct's additional squared error over the UNet, 71 % [65, 77] lies on background, 88 % of the pixels."

    Over the best baseline, which may be another. "" where the places were not measured.
    """
    ends = _ends(trajectories)
    if not len(ends):
        return ""
    baseline = best_baseline(at_the_end(trajectories))
    name, other_name = title(variant), the(baseline)
    loop, other = _errors(ends, variant), _errors(ends, baseline)
    more = {place: loop[place] - other[place] for place in PLACES}
    whole = more["structure"] + more["background"]
    if not np.isfinite(whole).all():
        return f"{name} did not come to its end with finite numbers, so no place of its error can be told."
    # decided by PSNR, as everywhere: squared errors of a few seeds differ by orders of magnitude where a loop runs away
    sign = 1 if whole.mean() > 0 else -1
    if _side(ends, variant, baseline, "psnr") != -sign:
        return f"Whether {name} has more squared error than {other_name} is undecided, so no place of it can be told."
    first, second = sorted(PLACES, key=lambda place: -sign * more[place].mean())
    if sign * more[second].mean() < 0:  # by the means they differ in sign; what of it is shown, the intervals tell
        told = {place: TOLD[_side(ends, variant, baseline, f"psnr_{place}")] for place in PLACES}
        return (
            f"{name} has {TOLD[-sign]} squared error than {other_name}: on {first} {told[first]}, "
            f"on {second} {told[second]}."
        )
    mean, low, high = (100 * value for value in ratio(sign * more[first], sign * whole))
    pixels = 100 * (ends[SHARE].mean() if first == "structure" else 1 - ends[SHARE].mean())
    share, lies = f"{mean:.0f} % [{low:.0f}, {high:.0f}]", f"lies on {first}, {pixels:.0f} % of the pixels."
    if sign > 0:
        return f"Of {name}'s additional squared error over {other_name}, {share} {lies}"
    return f"{name} has less squared error than {other_name}: {share} of what it saves {lies}"


def _ends(trajectories: pd.DataFrame) -> pd.DataFrame:
    """The rows of every method's end, of the fields whose places are known; empty where it was not measured."""
    ends = at_the_end(trajectories)
    if SHARE not in ends or not best_baseline(ends):
        return ends[:0]
    # NaN of one method alone is of a loop that diverged; which pixels are structure, its field's other rows know
    return ends.assign(**{SHARE: ends.groupby("field")[SHARE].transform("mean")}).dropna(subset=[SHARE])


def _side(ends: pd.DataFrame, variant: str, baseline: str, column: str) -> int:
    """1 where the interval of the gap lies above 0, -1 where it lies below, 0 where it does neither."""
    found = interval((_crossed(ends, variant, column) - _crossed(ends, baseline, column))[None])
    return int(found.ci_low[0] > 0) - int(found.ci_high[0] < 0)


def _crossed(ends: pd.DataFrame, name: str, column: str) -> np.ndarray:
    return values_of(ends[ends["variant"] == name], column)


def _errors(ends: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """What each place adds to the squared error, (seeds, fields), in the range's square."""
    share = _crossed(ends, name, SHARE)
    structure, background = (10 ** (-_crossed(ends, name, f"psnr_{place}") / 10) for place in PLACES)
    return {"structure": share * structure, "background": (1 - share) * background}
