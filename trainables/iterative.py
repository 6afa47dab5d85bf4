"""Ray Tune trainable of the stage `iterative`: the loop (Eq. 17-23) over frozen networks, one epoch."""

from trainables.trial import Trial


class Iterative(Trial):
    """Trial of the stage `iterative`."""

    kind = "iterative"


TRAINABLE = Iterative
