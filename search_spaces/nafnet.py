"""Search space of the stage `nafnet`: the UNet's, so that both are tuned alike."""

from __future__ import annotations

from search_spaces.unet import NUISANCE, RANGES, space

__all__ = ["NUISANCE", "RANGES", "space"]
# fixed: width, depth, blocks, window of the attention, averaging, patches, batches, length of training and target;
# set in the study's `config`, or searched where its `space` gives them a range
