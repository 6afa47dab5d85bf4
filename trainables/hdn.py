"""Ray Tune trainable of the stage `hdn`: the hierarchical VAE from hazy to clean, the generative baseline."""

from trainables.trial import Trial


class HDN(Trial):
    """Trial of the stage `hdn`."""

    kind = "hdn"


TRAINABLE = HDN
