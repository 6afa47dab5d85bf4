"""Whether the patches of every stage fit into the images, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping

from dehazing.stages import stage_module
from studies.study import Study


def check_patches(studies: Mapping[str, Study], dataset: str, size: tuple[int, ...]) -> None:
    """ValueError for a stage whose patches are larger than the images of the dataset; size: (Y, X) of these."""
    for study in studies.values():
        Config = stage_module(study.kind).Config
        controls = study.controls if study.kind != "iterative" else {}
        for name, changes in {study.name: {}, **controls}.items():
            key = f"{study.name}.config" if name == study.name else f"{study.name}.controls.{name}"
            patch_px = {**vars(Config()), **study.config, **changes}.get("patch_px", 0)
            if patch_px > min(size):
                raise ValueError(
                    f"{name}: `patch_px` must be at most the shorter side of an image, but is {patch_px}: those "
                    f"of {dataset} are {size[0]} x {size[1]} px; add --set {key}.patch_px=…"
                )
