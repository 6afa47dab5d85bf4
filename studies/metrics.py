"""What each kind of stage reports at its end, so that an objective is refused before anything is trained."""

from __future__ import annotations

ONE_SHOT = ("val/psnr", "val/psnr_ri", "val/psnr_mean_over_levels")

METRICS: dict[str, tuple[str, ...]] = {
    "unet": ONE_SHOT,
    "nafnet": ONE_SHOT,
    "hdn": ONE_SHOT,
    "hvae": ("val/ceiling", "val/ceiling_frame", "val/smoothness"),
    "restorer": ("val/psnr", "val/psnr_ri", "val/latent_error"),
    "degrader": ("val/psnr_direct", "val/psnr_ri_direct"),
    "iterative": ("val/gap_db", "val/psnr"),
}
