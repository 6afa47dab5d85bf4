"""What an epoch's losses come to, and when they end it."""

import math

import pytest
import torch

from dehazing.stages.watch import Watch


def read(watch, losses, num_done=None):
    for loss in losses:
        watch.add({"loss": torch.tensor(loss), "part": torch.tensor(0.5)})
    return watch.read(len(losses) if num_done is None else num_done)


def test_the_terms_are_averaged_over_the_steps():
    assert read(Watch(), [1.0, 2.0, 6.0]) == {"loss": pytest.approx(3.0), "part": 0.5}
    assert Watch().read(0) == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_step_that_is_not_finite_is_named(value):
    watch = Watch()
    read(watch, [1.0, 1.0])
    with pytest.raises(FloatingPointError, match=rf"`loss` became {value} at step 3 \(loss {value}, part 0.5\)"):
        read(watch, [1.0, value, math.nan], num_done=5)


def test_a_loss_has_run_away_where_half_of_an_epoch_is_beyond_the_limit():
    watch = Watch(runaway=100.0)
    read(watch, [-3.0, 1.0, 2.0])  # their sizes have the median 2, so the limit is 200
    assert watch.usual == 2.0
    read(watch, [199.0, 199.0, 199.0, 199.0])
    read(watch, [1e9, 1.0, 1.0])  # a single step
    read(watch, [-1e9, -1e9, -1e9])  # better and better
    with pytest.raises(FloatingPointError, match=r"100 times .* \(2\), but ran away at step 21 \(loss 300, part 0.5\)"):
        read(watch, [1.0, 300.0, 400.0], num_done=23)


def test_without_a_limit_a_finite_loss_never_ends_it():
    watch = Watch()
    read(watch, [1.0])
    read(watch, [1e30, 1e30])
