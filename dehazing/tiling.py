"""One call of a network on an image of any size, tile by tile, with the result that the whole image would give.

Every tile is computed with a margin as wide as the network sees and cropped back to its core, so no pixel can tell that
there were tiles: norms act on each pixel alone, tiles begin at multiples of what the network halves by, and at the
image's edge a tile has the same edge. What remains is rounding. Single calls are tiled (E, R, Dec, a baseline's) and
the latents between them are held whole. Of a loop every call is tiled by itself, as what the loop as a whole sees grows
with every step (`dehazing.tiled_networks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

Latent = tuple[Tensor, ...]

TILE_PX = 512  # side of a tile's core; the margins come on top
LONGEST_PX = 2**14  # a network that sees farther than half of this is taken to see everything


class Tiled:
    """A network's call, computed tile by tile on inputs of any size.

    call: tensors (…, h_i, w_i) to a tuple of such. channels, strides: of the inputs; a stride is image pixels per cell.
    multiple: the pixels that the sides must be multiples of. tile_px: side of a tile's core, rounded up to that.
    margin_px: how far a tile reaches beyond it; as far as the network sees (`margin_of`) if it is not given. A smaller
    one is faster and no longer exact. on_tile: called after each tile, for a progress bar.
    """

    def __init__(
        self,
        call: Callable[..., Latent],
        channels: Sequence[int],
        strides: Sequence[int],
        multiple: int,
        tile_px: int = TILE_PX,
        margin_px: int | None = None,
        device: str = "cpu",
        on_tile: Callable[[], None] | None = None,
    ):
        if tile_px < 1:
            raise ValueError(f"`tile_px > 0` must hold, but got {tile_px}.")
        if margin_px is not None and margin_px < 0:
            raise ValueError(f"`margin_px >= 0` must hold, but got {margin_px}.")
        self.call, self.strides, self.multiple = call, tuple(strides), multiple
        self.tile_px = _rounded_up(tile_px, multiple)
        if margin_px is None:
            margin_px = margin_of(call, channels, strides, multiple, device)
        self.margin_px = _rounded_up(margin_px, multiple)
        self.on_tile = on_tile

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Latent:
        """The outputs for whole inputs; ValueError where these are no multiples or do not belong to one image."""
        sizes = {
            tuple(side * stride for side in part.shape[-2:]) for part, stride in zip(inputs, self.strides, strict=True)
        }
        if len(sizes) > 1 or any(side % self.multiple for size in sizes for side in size):
            raise ValueError(
                f"What is tiled must be of one size, with sides that are multiples of {self.multiple} px, "
                f"but is {' and '.join(f'{y} x {x} px' for y, x in sorted(sizes))}."
            )
        ((height, width),) = sizes
        outputs: list[Tensor] = []
        for top, bottom in self._cores(height):
            for left, right in self._cores(width):
                rows, columns = self._window(top, bottom, height), self._window(left, right, width)
                seen = (_cut(part, stride, rows, columns) for part, stride in zip(inputs, self.strides, strict=True))
                made = self.call(*seen)
                strides = [(rows[1] - rows[0]) // part.shape[-2] for part in made]
                if not outputs:
                    outputs = [
                        part.new_empty(*part.shape[:-2], height // stride, width // stride)
                        for part, stride in zip(made, strides, strict=True)
                    ]
                for whole, part, stride in zip(outputs, made, strides, strict=True):
                    inside = (top - rows[0], bottom - rows[0]), (left - columns[0], right - columns[0])
                    _cut(whole, stride, (top, bottom), (left, right)).copy_(_cut(part, stride, *inside))
                if self.on_tile is not None:
                    self.on_tile()
        return tuple(outputs)

    def _cores(self, length: int) -> Iterator[tuple[int, int]]:
        """Beginning and end of each tile's core along a side; as even as multiples can be."""
        num = -(-length // self.tile_px)
        size = _rounded_up(-(-length // num), self.multiple)
        return ((start, min(start + size, length)) for start in range(0, length, size))

    def _window(self, start: int, end: int, length: int) -> tuple[int, int]:
        return max(0, start - self.margin_px), min(length, end + self.margin_px)


@torch.no_grad()
def margin_of(
    call: Callable[..., Latent], channels: Sequence[int], strides: Sequence[int], multiple: int, device: str = "cpu"
) -> int:
    """How far a call sees along either axis, in px, rounded up to a multiple; ValueError where it sees everything.

    Found out by NaN: what a block of it in a strip of image reaches depends on that block, whatever the weights are.
    """
    reach = 0
    with torch.backends.cudnn.flags(enabled=False):  # its Winograd and Fourier convolutions would spread NaN farther
        for along_x in (True, False):
            length, found = 8 * multiple, None
            while found is None:
                if length > LONGEST_PX:
                    raise ValueError(
                        f"A network can be tiled where what it sees is bounded, but this one sees {LONGEST_PX // 2} px "
                        "or more."
                    )
                found = _reach(call, channels, strides, multiple, length, along_x, device)
                length *= 2
            reach = max(reach, found)
    return _rounded_up(reach, multiple)


def _rounded_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _cut(part: Tensor, stride: int, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """The cells of a tensor with that stride within rows and columns in px."""
    (top, bottom), (left, right) = rows, columns
    return part[..., top // stride : bottom // stride, left // stride : right // stride]


def _reach(
    call: Callable[..., Latent],
    channels: Sequence[int],
    strides: Sequence[int],
    multiple: int,
    length: int,
    along_x: bool,
    device: str,
) -> int | None:
    """How far beyond a block of NaN in the middle of a strip the outputs are NaN; None where that meets its ends."""
    start, end = length // 2, length // 2 + multiple
    strip = []
    for num, stride in zip(channels, strides, strict=True):
        part = torch.zeros(1, num, multiple // stride, length // stride, device=device)
        part[..., start // stride : end // stride] = torch.nan
        strip.append(part if along_x else part.mT.contiguous())
    reach = 0
    for made in call(*strip):
        cells = (made if along_x else made.mT).isnan().flatten(0, -2).any(0).nonzero().flatten().tolist()
        if not cells:
            continue
        stride = length // made.shape[-1 if along_x else -2]
        first, last = cells[0] * stride, (cells[-1] + 1) * stride
        if first == 0 or last == length:
            return None
        reach = max(reach, start - first, last - end)
    return reach
