"""A history of generated latents, so that a discriminator is not taught by the newest ones alone."""

from __future__ import annotations

import torch

Latent = tuple[torch.Tensor, ...]


class Pool:
    """Keeps up to `size` generated latents; each query returns, with probability 1/2, an older one and keeps the new.

    The image pool of CycleGAN (size 50 there). Its content is part of a training state.
    """

    def __init__(self, size: int):
        self.size = size
        self.kept: list[Latent] = []

    def query(self, fake: Latent, generator: torch.Generator) -> Latent:
        """fake: tuple of (N, C_i, h_i, w_i), detached; the same shapes come back."""
        if not self.size:
            return fake
        answers: list[Latent] = []
        for sample in zip(*(group.split(1) for group in fake), strict=True):
            if len(self.kept) < self.size:
                self.kept.append(sample)
                answers.append(sample)
            elif torch.rand((), generator=generator) < 0.5:
                index = int(torch.randint(self.size, (), generator=generator))
                answers.append(self.kept[index])
                self.kept[index] = sample
            else:
                answers.append(sample)
        return tuple(torch.cat(group) for group in zip(*answers, strict=True))
