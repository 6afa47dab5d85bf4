"""How much of a level linear maps of other levels explain: bounds for a G that is linear, with nothing but them.

A map is fitted on training fields, channel by channel, and then predicts other fields. Latents of all N fields at one
level are tuples of (N, C_i, h_i, w_i); an image is the latent of one group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Latent = tuple[Tensor, ...]
Map = Callable[[Sequence[Latent]], Latent]


def explained(predicted: Latent, true: Latent) -> float:
    """Share of the variance within the channels that a prediction explains, averaged over groups; 1 is all of it."""
    shares = []
    for guess, group in zip(predicted, true, strict=True):
        variance = (group - group.mean((0, 2, 3), keepdim=True)).square().mean()
        shares.append(1 - float((group - guess).square().mean() / variance))
    return sum(shares) / len(shares)


def fit_gains(inputs: Sequence[Latent], target: Latent) -> Map:
    """One gain per input and an offset, the best in each channel: the span of the inputs and 1."""
    fitted = [_gains(torch.stack(parts), aim) for *parts, aim in zip(*inputs, target, strict=True)]

    def predict(inputs: Sequence[Latent]) -> Latent:
        seen = (_with_ones(torch.stack(parts)) for parts in zip(*inputs, strict=True))
        return tuple(torch.einsum("kncyx,ck->ncyx", part, gain) for part, gain in zip(seen, fitted, strict=True))

    return predict


def fit_filters(inputs: Sequence[Latent], target: Latent) -> Map:
    """One isotropic filter per input and an offset, the best in each channel: Wiener filters by radial frequency.

    Fields wrap around at their edges, as the discrete Fourier transform has them, and must keep their size.
    """
    fitted = [_filters(torch.stack(parts), aim) for *parts, aim in zip(*inputs, target, strict=True)]

    def predict(inputs: Sequence[Latent]) -> Latent:
        result = []
        for (transfer, means, offset), *parts in zip(fitted, *inputs, strict=True):
            seen = torch.fft.rfft2(torch.stack(parts) - means)
            filtered = torch.einsum("kncyx,ckyx->ncyx", seen, transfer.to(seen.dtype))
            result.append(torch.fft.irfft2(filtered, s=parts[0].shape[-2:]) + offset)
        return tuple(result)

    return predict


def radii(height: int, width: int) -> Tensor:
    """Radial frequency of each entry of `rfft2`, (Y, X // 2 + 1), in whole cycles over the longer side."""
    y, x = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    return (torch.hypot(y, x) * max(height, width)).round().long()


def _with_ones(parts: Tensor) -> Tensor:
    return torch.cat([parts, torch.ones_like(parts[:1])])


def _gains(parts: Tensor, aim: Tensor) -> Tensor:
    """(C, K + 1) of K inputs (K, N, C, Y, X)."""
    seen = _with_ones(parts).permute(2, 1, 3, 4, 0).flatten(1, 3).double()  # (C, samples, K + 1)
    wanted = aim.transpose(0, 1).flatten(1).double()[..., None]
    return torch.linalg.lstsq(seen, wanted).solution[..., 0].to(aim.dtype)


def _filters(parts: Tensor, aim: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Transfer functions (C, K, Y, X // 2 + 1), means of the inputs (K, 1, C, 1, 1) and of the target (C, 1, 1)."""
    means, offset = parts.mean((1, 3, 4), keepdim=True), aim.mean((0, 2, 3), keepdim=True)[0]
    seen, wanted = torch.fft.rfft2((parts - means).double()), torch.fft.rfft2((aim - offset).double())
    height, width = aim.shape[-2:]
    ring = radii(height, width).to(aim.device)
    twice = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64, device=aim.device)
    twice[0] = 1  # rfft2 leaves out the mirror image of all columns but the first, and the last of an even width
    twice[-1] = 1 if width % 2 == 0 else 2
    num_inputs, _, num_channels = parts.shape[:3]
    crossed = (torch.einsum("kncyx,lncyx->cklyx", seen, seen.conj()).real * twice).flatten(3)
    onto = (torch.einsum("kncyx,ncyx->ckyx", seen.conj(), wanted).real * twice).flatten(2)
    num_rings = int(ring.max()) + 1
    gram = crossed.new_zeros(num_channels, num_inputs, num_inputs, num_rings).index_add_(3, ring.flatten(), crossed)
    moment = onto.new_zeros(num_channels, num_inputs, num_rings).index_add_(2, ring.flatten(), onto)
    gram, moment = gram.permute(0, 3, 1, 2), moment.permute(0, 2, 1)
    power = gram.diagonal(dim1=2, dim2=3).sum(-1).clamp(min=1e-12)[..., None, None]
    ridge = 1e-9 * power * torch.eye(num_inputs, dtype=power.dtype, device=power.device)
    transfer = torch.linalg.solve(gram + ridge, moment)  # (C, rings, K)
    return transfer.permute(0, 2, 1)[..., ring], means, offset
