"""What either side is tried with, before one of it is trained to the end.

Both have the same rates at their disposal, CAREamics with each of two objectives as well: its own and ours (mean
square error; the weight of the KL terms), so that no choice of ours in its name holds it back.
"""

from __future__ import annotations

from typing import Any

from dehazing.stages import hdn

METHODS = ("unet", "hdn")
RATES = {"unet": (1e-3, 2e-3, 4e-3), "hdn": (2e-3, 4e-3, 8e-3)}
OBJECTIVES: dict[str, tuple[dict[str, Any], ...]] = {
    "unet": ({"loss": "mae"}, {"loss": "mse"}),
    "hdn": ({"kl_weight": 1.0}, {"kl_weight": hdn.Config.beta}),
}


def tried(method: str, num_parameters: int) -> dict[str, list[dict[str, Any]]]:
    """Side → its settings; CAREamics' networks are to have about so many parameters."""
    size: dict[str, Any] = {"num_parameters": num_parameters}
    if method == "hdn":
        size |= {"latent_channels": list(hdn.Config.latent_channels), "num_samples": hdn.Config.num_samples}
    return {
        "ours": [{"lr": lr} for lr in RATES[method]],
        "careamics": [{**size, **objective, "lr": lr} for objective in OBJECTIVES[method] for lr in RATES[method]],
    }
