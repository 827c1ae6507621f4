"""The frames of an animation."""

import numpy as np


def frames(path):
    """The frames of a GIF, each as integers (height, width, 3)."""
    from PIL import Image

    with Image.open(path) as image:
        found = []
        for i in range(image.n_frames):
            image.seek(i)
            found.append(np.asarray(image.convert("RGB")).astype(int))
        return found
