"""What either side is tried with, before one of it is trained to the end.

Both have the same rates at their disposal, CAREamics each of them with several variants: what it does of itself, and
what ours does (square error and a residual output; the weight of the KL terms), so that no choice in its name holds it
back.
"""

from __future__ import annotations

from typing import Any

from dehazing.stages import hdn

METHODS = ("unet", "hdn")
RATES = {"unet": (1e-3, 2e-3, 4e-3), "hdn": (2e-3, 4e-3, 8e-3)}
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {  # of CAREamics, its own first
    "unet": (
        {"loss": "mae", "residual": False},
        {"loss": "mse", "residual": False},
        {"loss": "mse", "residual": True},
    ),
    "hdn": ({"kl_weight": 1.0}, {"kl_weight": hdn.Config.beta}),
}


def tried(method: str, num_parameters: int) -> dict[str, list[dict[str, Any]]]:
    """Side → its settings; CAREamics' networks are to have about so many parameters."""
    size: dict[str, Any] = {"num_parameters": num_parameters}
    if method == "hdn":
        size |= {"latent_channels": list(hdn.Config.latent_channels), "num_samples": hdn.Config.num_samples}
    return {
        "ours": [{"lr": lr} for lr in RATES[method]],
        "careamics": [{**size, **variant, "lr": lr} for variant in VARIANTS[method] for lr in RATES[method]],
    }
