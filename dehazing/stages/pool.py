"""A history of generated latents, so that a discriminator is not taught by the newest ones alone."""

from __future__ import annotations

import torch

Latent = tuple[torch.Tensor, ...]


class Pool:
    """Keeps up to `size` generated latents; each query returns, with probability 1/2, an older one and keeps the new.

    The image pool of CycleGAN (size 50 there), but that one query takes no older one twice: so it needs no loop over
    samples, and never waits for the device. `kept`, (number, C_i, h_i, w_i) each, is part of a training state.
    """

    def __init__(self, size: int):
        self.size = size
        self.kept: Latent = ()

    def query(self, fake: Latent, generator: torch.Generator) -> Latent:
        """fake: tuple of (N, C_i, h_i, w_i), detached; the same shapes come back."""
        if not self.size:
            return fake
        num_new = self.size - len(self.kept[0]) if self.kept else self.size
        new, rest = tuple(group[:num_new] for group in fake), tuple(group[num_new:] for group in fake)
        answers = [new]
        if len(new[0]):
            self.kept = (
                tuple(map(torch.cat, zip(self.kept, new, strict=True)))
                if self.kept
                else tuple(group.clone() for group in new)
            )
        for part in zip(*(group.split(self.size) for group in rest), strict=True):
            if len(part[0]):
                answers.append(self._exchanged(part, generator))
        return tuple(torch.cat(group) for group in zip(*answers, strict=True))

    def load(self, kept: Latent, device: torch.device) -> None:
        """Goes on from what another pool has kept."""
        self.kept = tuple(group.to(device) for group in kept)

    def _exchanged(self, fake: Latent, generator: torch.Generator) -> Latent:
        """The pool is full, and at least as large as the number of samples."""
        device, num = generator.device, len(fake[0])
        old = torch.rand(self.size, generator=generator, device=device).argsort()[:num]
        swapped = (torch.rand(num, generator=generator, device=device) < 0.5)[:, None, None, None]
        taken = tuple(group[old] for group in self.kept)
        for kept, one, other in zip(self.kept, fake, taken, strict=True):
            kept[old] = torch.where(swapped, one, other)
        return tuple(torch.where(swapped, other, one) for one, other in zip(fake, taken, strict=True))
