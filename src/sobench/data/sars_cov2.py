"""CT scans with and without SARS-CoV-2 (Soares et al., 2020): 1,252 and 1,230 images, put by hand as their archive has them.

Kernel SGD, section 4.1 and table 2: "RGB CT scans ... reshaped into 32 x 32", 2,000 to train and 482 to test on, it does not say
which. Here they are drawn by `split_seed`, which is not the seed of a run; and "reshaped" is bilinear interpolation over all
that a new pixel covers, whatever the image's proportions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.pixels import CHANNEL, scale
from sobench.data.store import Store
from sobench.errors import Failure

if TYPE_CHECKING:
    import numpy as np

CLASSES = ("non-COVID", "COVID")
"""The folders, in order of the labels."""

SIDE = 32
SAMPLES, TEST = 2482, 482


def sars_cov2(store: Store, *, standardize: bool = False, split_seed: int = 0) -> Dataset:
    """2,000 training and 482 test images [N, 3, 32, 32], float32 in [0, 1]; 1 is COVID. Of fewer images, the same shares.

    standardize: less the training mean, over the training deviation, of each channel. Raises Failure when the images cannot
    be had or read.
    """
    import numpy as np
    import torch

    place = store.folder("sars_cov2", *CLASSES)
    files = [sorted(path for path in (place / name).iterdir() if path.suffix.lower() == ".png") for name in CLASSES]
    if not all(files):
        raise Failure(f"sars_cov2: no .png files in {place / CLASSES[not files[1]]}")
    pixels = torch.from_numpy(np.stack([_image(path) for part in files for path in part]))
    labels = torch.tensor([label for label, part in enumerate(files) for _ in part])
    order = torch.from_numpy(np.random.default_rng(split_seed).permutation(len(pixels)))
    test, train = order.split([held := len(pixels) * TEST // SAMPLES, len(pixels) - held])
    inputs = scale(pixels[train], pixels[test], 255, standardize=standardize, alike=CHANNEL)
    return Dataset("sars_cov2", (inputs[0], labels[train]), (inputs[1], labels[test]), 2)


def _image(path: Path) -> np.ndarray:
    """uint8 [3, 32, 32]. Raises Failure."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError) as error:  # Image's words for what is no image, or is cut off
        raise Failure(
            f"sars_cov2: {path} is not an image, or it is damaged ({' '.join(str(error).split())})"
        ) from error
