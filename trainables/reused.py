"""A trainable whose actor goes from one piece of work to the next, and whose progress lives in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import tune


class Reused(tune.Trainable):
    """Resume lives in the store (partial checkpoints under the fingerprint), so Tune's checkpoints hold nothing."""

    def reset_config(self, new_config: Mapping[str, Any]) -> bool:
        """Rebuild everything for another piece of work in the same actor."""
        self.cleanup()
        self.setup(new_config)  # type: ignore[arg-type]  # it is not written to
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        return {}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load: the store knows where the work stands."""

    def get_auto_filled_metrics(self, *how: Any, **more: Any) -> dict[str, Any]:
        """What Tune adds to every result, but for the configuration: whoever handed the work out has it."""
        added: dict[str, Any] = super().get_auto_filled_metrics(*how, **more)
        added.pop("config", None)
        return added
