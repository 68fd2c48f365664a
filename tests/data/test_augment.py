"""Flips and crops: every output is an allowed view, all views are equally likely, and the generator determines them."""

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare

from sobench.data.augment import flip_and_crop


def views(image, padding, fill):
    """All 2 (2 padding + 1)^2 views of an image [C, H, W], made by padding, slicing and flipping."""
    framed = torch.stack([F.pad(plane, (padding,) * 4, value=value) for plane, value in zip(image, fill)])
    _, height, width = image.shape
    places = range(2 * padding + 1)
    crops = [framed[:, i : i + height, j : j + width] for i in places for j in places]
    return torch.stack([view for crop in crops for view in (crop, crop.flip(2))])


def generator(seed, device):
    return torch.Generator(device).manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_output_is_a_legal_view_of_its_own_image(device, dtype):
    images = torch.randn(60, 3, 6, 5, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    fill = (0.5, -1.0, 2.0)
    found = flip_and_crop(images, generator(1, device), padding=4, fill=fill)
    assert found.shape == images.shape and found.dtype == dtype and found.device == images.device
    for image, view in zip(images, found):
        legal = views(image.cpu(), 4, fill).to(device)
        assert len(legal) == 2 * 81 and any(torch.equal(view, other) for other in legal)


def test_all_views_are_equally_likely(device):
    image = torch.arange(12.0, device=device).view(1, 1, 3, 4) + 1
    found = flip_and_crop(image.expand(9000, 1, 3, 4), generator(3, device), padding=1)
    legal = views(image[0], 1, (0.0,))
    counts = [(found == view).flatten(1).all(1).sum().item() for view in legal]
    assert sum(counts) == 9000 and chisquare(counts).pvalue > 1e-3


def test_images_are_drawn_independently(device):
    """Two images of a batch have the same view in about 1/162 of the batches."""
    image = torch.randn(1, 1, 12, 12, generator=torch.Generator().manual_seed(0)).to(device)
    found = flip_and_crop(image.expand(200, 1, 12, 12), generator(0, device))
    assert len(found.flatten(1).unique(dim=0)) > 80


def test_the_generator_alone_decides(device):
    images = torch.randn(20, 3, 8, 8, generator=torch.Generator().manual_seed(0)).to(device)
    before = images.clone()
    first = flip_and_crop(images, generator(5, device), fill=(0, 0, 0))
    torch.rand(3, device=device)
    assert torch.equal(first, flip_and_crop(images, generator(5, device), fill=(0, 0, 0)))
    assert not torch.equal(first, flip_and_crop(images, generator(6, device), fill=(0, 0, 0)))
    assert torch.equal(images, before)
    state = torch.get_rng_state()
    flip_and_crop(images, generator(7, device), fill=(0, 0, 0))
    assert torch.equal(state, torch.get_rng_state())
