"""Classical restorations of one image, by scikit-image: Richardson-Lucy, Wiener, and a rolling ball's background.

Both deconvolutions estimate the object in the focal plane with the kernel of that plane, and show it as the clean
setting would: blurred by that one's kernel. (Sharper than x_0, their estimate would be wrong however good it is.)
An image goes on as its mirror image beyond its edges, so that no dark frame rings into it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve
from skimage import restoration

Image = NDArray[np.float64]


def richardson_lucy(image: Image, psf: Image, clean_psf: Image, num_iterations: int) -> Image:
    """The maximum of the Poisson likelihood, approached from an even image.

    image: photons (Y, X), dark counts taken off; what is below 0 counts as 0. psf, clean_psf: (K, K), centre in the
    middle, K odd; only their shapes count, as the image keeps its light.
    """
    brightest = float(image.max())
    if brightest <= 0:
        return np.zeros_like(image)  # no light, no object
    padded = np.pad(np.clip(image, 0, None) / brightest, len(psf) // 2, mode="symmetric")
    object_ = restoration.richardson_lucy(padded, psf / psf.sum(), num_iter=num_iterations, clip=False)
    return brightest * _seen(object_, clean_psf, len(psf) // 2)


def wiener(image: Image, psf: Image, clean_psf: Image, balance: float) -> Image:
    """The Wiener filter H* / (|H|² + balance |Laplacian|²); arguments as above, but the image in any units."""
    padded = np.pad(image, len(psf) // 2, mode="symmetric")
    object_ = restoration.wiener(padded, psf / psf.sum(), balance, clip=False)
    return _seen(object_, clean_psf, len(psf) // 2)


def without_background(image: Image, radius: float) -> Image:
    """The image less the background under which a ball of this radius rolls; (Y, X), nowhere below 0.

    radius: in pixels and in units of the image alike, as a ball is as high as it is wide.
    """
    return image - restoration.rolling_ball(image, radius=radius)


def _seen(padded: Image, clean_psf: Image, pad: int) -> Image:
    seen = fftconvolve(padded, clean_psf / clean_psf.sum(), mode="same")
    return seen[pad:-pad, pad:-pad] if pad else seen
