"""How near a prediction is to its reference: fidelity, structure, spectrum, background, lines, and drift of latents.

Images are (N, Y, X) or (N, 1, Y, X), latents tuples of (N, C_i, Y_i, X_i), finest first; every metric returns
one float64 number per field, (N,), or (N, num_bands) for those per frequency band. A reference is given as a tensor, or
as a `Reference` where several predictions are scored against it. Where a metric does not apply it raises
`NotApplicable`, a ValueError.
"""

from dehazing.metrics.background import background_residue
from dehazing.metrics.fidelity import mse, psnr, psnr_ri, range
from dehazing.metrics.latents import cosine, drift, norm_ratio
from dehazing.metrics.lines import line_f1
from dehazing.metrics.micro import micro_ms3im
from dehazing.metrics.reference import NotApplicable, Reference
from dehazing.metrics.rings import frc_resolution, ring_correlation
from dehazing.metrics.scales import ms_ssim
from dehazing.metrics.spectrum import band_energies, band_errors, band_scores, coherence, power_ratio
from dehazing.metrics.structure import ssim

__all__ = [
    "NotApplicable",
    "Reference",
    "background_residue",
    "band_energies",
    "band_errors",
    "band_scores",
    "coherence",
    "cosine",
    "drift",
    "frc_resolution",
    "line_f1",
    "micro_ms3im",
    "ms_ssim",
    "mse",
    "norm_ratio",
    "power_ratio",
    "psnr",
    "psnr_ri",
    "range",
    "ring_correlation",
    "ssim",
]
