"""Ray Tune trainable of the stage `nafnet`: the stronger pixel-space baseline R(x_t, t) of Eq. 3, on every level."""

from trainables.trial import Trial


class NAFNet(Trial):
    """Trial of the stage `nafnet`."""

    kind = "nafnet"


TRAINABLE = NAFNet
