"""Ray Tune trainable of the stage `unet`: the pixel-space baseline R(x_t, t) of Eq. 3, on every level."""

from trainables.trial import Trial


class UNet(Trial):
    """Trial of the stage `unet`."""

    kind = "unet"


TRAINABLE = UNet
