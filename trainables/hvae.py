"""Ray Tune trainable of the stage `hvae`: the autoencoder of every level (Eq. 6-10), in whose latents the loop runs."""

from trainables.trial import Trial


class HVAE(Trial):
    """Trial of the stage `hvae`."""

    kind = "hvae"


TRAINABLE = HVAE
