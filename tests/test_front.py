"""The front is that of points whose answer is known, and who may stand on it instead is told by intervals."""

import numpy as np

from analysis.front import Rivals, pareto, rivals

MARGINS = (0.1, 0.02)


def scores(of_seeds, num_fields=4):
    """One method's (2, S, F), the same on every field."""
    return np.repeat(np.array(of_seeds, float)[:, :, None], num_fields, axis=2)


def test_the_front_of_points_by_hand():
    x, y = [1, 2, 3, 3, 2, 1, np.nan, 3], [5, 4, 1, 1, 3, 5, 9, 0]
    assert pareto(x, y).tolist() == [True, True, True, True, False, True, False, False]
    assert pareto([1.0], [-np.inf]).tolist() == [True] and pareto([], []).tolist() == []


def test_who_is_not_shown_to_be_worse_in_either_is_a_rival():
    found = {
        "this": scores([[30, 30, 30], [0.5, 0.5, 0.5]]),
        "same": scores([[30.05, 29.95, 30.0], [0.5, 0.5, 0.5]]),  # 0 ± 4.303 · 0.05 / √3 = 0.124: not within 0.1 dB
        "tied": scores([[30.02, 29.98, 30.0], [0.49, 0.49, 0.49]]),
        "unsure": scores([[28.5, 30, 30.3], [0.4, 0.5, 0.53]]),  # -0.4 ± 2.4 dB
        "less faithful": scores([[29, 29.1, 28.9], [0.9, 0.9, 0.9]]),
        "less sharp": scores([[40, 40, 40], [0.47, 0.47, 0.47]]),
    }
    assert rivals("this", found, MARGINS) == Rivals(["tied"], ["same", "unsure"])
    assert rivals("this", {"this": found["this"]}, MARGINS) == Rivals([], [])


def test_with_two_seeds_nothing_is_shown():
    found = {"this": scores([[30, 30], [0.5, 0.5]]), "far below": scores([[20, 20], [0.1, 0.1]])}
    assert rivals("this", found, MARGINS) == Rivals([], ["far below"])
