"""Which HVAE a published network knows: its latents mean nothing to one that was trained on those of another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from dehazing.pipeline import manifest


def require_latents_of(hvae: Path, trained: Mapping[str, Path]) -> None:
    """ValueError for the first network that was trained on the latents of another HVAE; all are published folders.

    trained: role → folder. Networks that know no HVAE are not asked. Channels may agree all the same, so the
    fingerprints are compared.
    """
    path = hvae / manifest.NAME
    known = manifest.parsed(path.read_bytes()) if path.is_file() else None
    if known is None:
        raise ValueError(f"{hvae} must be a published HVAE, but has no complete manifest.")
    for role, folder in trained.items():
        address = json.loads((folder / "config.json").read_bytes())["upstreams"].get("hvae")
        if address not in (None, known["address"]):
            raise ValueError(
                f"The {role} must have been trained on the latents of the HVAE that it is used with, "
                f"{known['address']}, but {folder.name} was trained on those of {address}."
            )
