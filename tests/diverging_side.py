"""A side of the comparison with CAREamics whose network diverges after four steps where its rate is above 1."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from benchmarks.side_by_side.serving import serve


class Diverging:
    """Restores by a factor: the larger its rate, the better, as long as it lives."""

    def __init__(self, setting: dict[str, Any], num_steps: int, T: int):
        self.lr, self.num_done = setting.get("lr", 1.0), 0

    def num_parameters(self) -> int:
        return 1

    def step(self, x_t: Tensor, t: Tensor, x_0: Tensor) -> None:
        self.num_done += 1
        if self.lr > 1 and self.num_done > 4:
            raise FloatingPointError("no numbers any more")

    def restore(self, x_t: Tensor, t: int) -> Tensor:
        return x_t * (0.5 + 0.1 * min(self.lr, 2))


if __name__ == "__main__":
    serve({"unet": Diverging})
