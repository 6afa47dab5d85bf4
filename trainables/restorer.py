"""Ray Tune trainable of the stage `restorer`: R(z_t, t) over all latent groups (Eq. 11-12)."""

from trainables.trial import Trial


class Restorer(Trial):
    """Trial of the stage `restorer`."""

    kind = "restorer"


TRAINABLE = Restorer
