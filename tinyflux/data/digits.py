"""Scikit-learn's handwritten digits, drawn as MNIST draws them: real data for a machine without files or a network."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..installed import pip_install


def digits(split: Literal["train", "test"]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The 1,797 real digits of 8 × 8 pixels that come with scikit-learn, enlarged to MNIST's format.

    Each is scaled to 20 × 20 by bilinear interpolation and framed by 4 empty pixels, as in MNIST. Every fifth sample
    of each class is for testing, the others are for training.

    Arguments:
        split: "train" for 1,437 samples, "test" for the other 360.

    Returns: images, float32 (N, 28, 28), from 0 (paper) to 1 (ink), and labels, int64 (N,), from 0 to 9.

    Errors:
        ImportError: scikit-learn is not installed.
        ValueError: `split` is another word.

    >>> import tinyflux as flux
    >>> images, labels = flux.data.digits("test")
    >>> images.shape, labels[:5]
    ((360, 28, 28), array([0, 2, 4, 7, 1]))
    """
    if split not in ("train", "test"):
        raise ValueError(f"split: expected 'train' or 'test', got {split!r}")
    try:
        from scipy import ndimage
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError(f"data.digits: expected scikit-learn, got none; {pip_install('examples')}") from None
    found = load_digits()
    in_test = np.zeros(len(found.target), bool)
    in_test[np.argsort(found.target, kind="stable")[::5]] = True  # every fifth of each class
    chosen = in_test == (split == "test")
    small = found.images[chosen].astype(np.float32) / 16
    images = ndimage.zoom(small, (1, 2.5, 2.5), order=1, mode="grid-constant", grid_mode=True)
    return np.pad(images, ((0, 0), (4, 4), (4, 4))), found.target[chosen].astype(np.int64)
