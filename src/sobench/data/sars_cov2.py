"""CT scans with and without SARS-CoV-2 (Soares et al., 2020): 1,252 and 1,230 images.

The images need a manual download: the folders COVID and non-COVID of .png files, as their archive has them.

Kernel SGD, section 4.1 and table 2, has "RGB CT scans ... reshaped into 32 x 32", of which it trains on 2,000 and tests
on 482, but does not say which. Here the test images are drawn by `split_seed`, which is not the seed of a run.
"Reshaped" is read as bilinear interpolation over the area that a new pixel covers, whatever the image's proportions.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.pixels import CHANNEL, scale
from sobench.data.reading import parsing
from sobench.data.store import Store
from sobench.errors import Failure

if TYPE_CHECKING:
    import numpy as np

CLASSES = ("non-COVID", "COVID")
"""The folders, in the order of the labels."""

SIDE = 32
SAMPLES, TEST = 2482, 482
FORMATS = ("PNG", "JPEG")
"""What is read under the name .png: some files of this name are photographs."""
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Kinds of pixels that have 8 bits a colour or less."""
PIXELS = 1 << 24
"""The pixels that an image has at most."""


def sars_cov2(store: Store, *, standardize: bool = False, split_seed: int = 0) -> Dataset:
    """2,000 training and 482 test images, float32 [N, 3, 32, 32] in [0, 1], and labels int64 [N]; 1 is COVID.

    If there are fewer images, the shares of training and test images are the same. standardize: subtract the training
    mean of each channel and divide by its training standard deviation. split_seed: draws the test images. Raises
    Failure if the images are not there or cannot be read.
    """
    import numpy as np
    import torch

    folder = store.folder("sars_cov2", *CLASSES)
    files = [sorted(path for path in (folder / name).iterdir() if path.suffix.lower() == ".png") for name in CLASSES]
    if not all(files):
        raise Failure(f"sars_cov2: no .png files in {folder / CLASSES[not files[1]]}")
    pixels = torch.from_numpy(np.stack([_image(path) for part in files for path in part]))
    labels = torch.tensor([label for label, part in enumerate(files) for _ in part])
    order = torch.from_numpy(np.random.default_rng(split_seed).permutation(len(pixels)))
    tests = len(pixels) * TEST // SAMPLES
    test, train = order[:tests], order[tests:]
    inputs = scale(pixels[train], pixels[test], 255, standardize=standardize, alike=CHANNEL)
    return Dataset("sars_cov2", (inputs[0], labels[train]), (inputs[1], labels[test]), 2)


def _image(path: Path) -> np.ndarray:
    """The image as uint8 [3, 32, 32]. Raises Failure for a file that cannot be read."""
    import numpy as np
    from PIL import Image

    with parsing(f"sars_cov2: {path} is not an image"):
        if not path.is_file():
            raise ValueError("it is not a file")
        with Image.open(path, formats=FORMATS) as image:
            if math.prod(image.size) > PIXELS or image.mode not in MODES:
                raise ValueError(f"it has {math.prod(image.size):,} pixels of mode {image.mode}")
            image.verify()  # the checksums; after it, the image must be opened again
        with Image.open(path, formats=FORMATS) as image:
            return np.array(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
