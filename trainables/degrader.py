"""Ray Tune trainable of the stage `degrader`: G, F, D_X and D_Y for each step (Eq. 13-16)."""

from trainables.trial import Trial


class Degrader(Trial):
    """Trial of the stage `degrader`."""

    kind = "degrader"


TRAINABLE = Degrader
