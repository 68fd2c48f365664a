"""The synthetic look-alikes: sizes, range, seeds, and the geometry of curves and patches."""

import numpy as np
import pytest
import tiny_data
import torch
from scipy.io import savemat
from scipy.ndimage import map_coordinates

from sobench.data import Store
from sobench.data.synthetic import PEN, _bilinear, _cut_patches, _draw_curves, curves_synthetic, faces_synthetic
from sobench.errors import Failure, UsageError


@pytest.fixture
def store(tmp_path):
    return Store(tiny_data.write(tmp_path / "mirror"), tmp_path / "cache")


LOADERS = {"curves_synthetic": (curves_synthetic, 784), "faces_synthetic": (faces_synthetic, 625)}


@pytest.mark.parametrize("name", LOADERS)
def test_shape_and_name(store, name):
    loader, width = LOADERS[name]
    data = loader(store, train=30, test=20)
    assert str(data) == f"{name}: 30 train, 20 test, inputs {width}, {width} real targets"
    assert data.train[1] is data.train[0] and data.train[0].dtype == torch.float32


@pytest.mark.parametrize("name", LOADERS)
def test_the_seed_decides(store, name):
    loader, _ = LOADERS[name]
    first, again, other = (loader(store, train=30, test=20, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.train[0], again.train[0]) and torch.equal(first.test[0], again.test[0])
    assert not torch.equal(first.train[0], other.train[0]) and not torch.equal(first.test[0], other.test[0])
    assert not torch.equal(first.train[0][:20], first.test[0])
    with pytest.raises(UsageError, match="dataset.seed: got -1"):
        loader(store, train=3, test=2, seed=-1)


def test_the_test_curves_do_not_depend_on_how_many_are_trained_on(store):
    assert torch.equal(
        curves_synthetic(store, train=30, test=20).test[0], curves_synthetic(store, train=7, test=20).test[0]
    )


class Given:
    """A random generator that returns these points."""

    def __init__(self, points):
        self.points = np.asarray(points, np.float64)

    def uniform(self, low, high, shape):
        assert self.points.shape == shape
        return self.points


def test_a_stroke_falls_off_with_the_distance_to_the_curve():
    """Three equidistant points on a line give the straight segment between the outer two, with t as its parameter."""
    image = _draw_curves(1, Given([[[5, 10], [13, 10], [21, 10]]])).reshape(28, 28)
    x, y = np.meshgrid(np.arange(28), np.arange(28))
    distance = np.hypot(x - np.clip(x, 5, 21), y - 10)
    np.testing.assert_allclose(image, np.exp(-(distance**2) / (2 * PEN**2)), atol=0.02)  # of points 1/4 pixel apart


def test_a_curve_goes_through_its_three_points_and_is_a_parabola():
    points = np.array([[5, 20], [14, 6], [23, 20]])
    image = _draw_curves(1, Given(points[None])).reshape(28, 28)
    assert image[20, 5] == pytest.approx(1, abs=0.01) and image[20, 23] == pytest.approx(1, abs=0.01)
    assert image[6, 14] == pytest.approx(1, abs=0.01)
    for x in range(5, 24):  # y = 6 + 14 ((x - 14) / 9)^2
        y = 6 + 14 * ((x - 14) / 9) ** 2
        assert image[int(np.floor(y)) : int(np.ceil(y)) + 1, x].max() > 0.75
    assert image[15:, 14].max() < 0.01


def test_values_of_curves():
    images = _draw_curves(300, np.random.default_rng(0))
    assert images.min() >= 0 and 0.99 < images.max() <= 1
    assert images.max(1).min() > 0.7 and 0.02 < images.mean() < 0.2


def test_bilinear_interpolation_is_that_of_scipy():
    rng = np.random.default_rng(0)
    images = rng.random((3, 8, 8)).astype(np.float32)
    x, y = rng.uniform(0, 7, (2, 3, 50))
    x[0, 0], y[0, 0], x[1, 0] = 7, 7, 0
    found = _bilinear(images, np.arange(3)[:, None], x, y)
    expected = [map_coordinates(image, [v, u], order=1) for image, u, v in zip(images, x, y)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def people(tmp_path, faces):
    """A store with these faces [40, 10, 64, 64] in the file's format: a column for each image, column by column."""
    (tmp_path / "olivetti").mkdir(exist_ok=True)
    savemat(tmp_path / "olivetti/olivettifaces.mat", {"faces": faces.transpose(0, 1, 3, 2).reshape(400, 4096).T})
    return Store(tmp_path, tmp_path / "cache")


def test_training_and_test_patches_are_of_other_people(tmp_path):
    """Person i has faces of the constant grey i: a patch, times the unit and plus the mean, identifies the person."""
    faces = np.broadcast_to(np.arange(40.0)[:, None, None, None], (40, 10, 64, 64))
    data = faces_synthetic(people(tmp_path, faces), train=250, test=100)
    for (patches, _), whose in ((data.train, range(25)), (data.test, range(30, 40))):
        greys = patches.double().numpy() * np.std(np.arange(25)) + 12
        np.testing.assert_allclose(greys, greys.round(), atol=1e-4)
        assert set(greys.round().ravel()) == set(whose)


def test_patches_are_turned_squares_inside_the_image():
    """If the grey is the column, a patch is a plane whose slopes are the spacing times cosine and -sine."""
    images = np.broadcast_to(np.arange(64, dtype=np.float32), (3, 64, 64))
    patches = _cut_patches(images, 600, np.random.default_rng(0)).reshape(-1, 25, 25)
    assert patches.min() >= 0 and patches.max() <= 63
    across, down = patches[:, 12, 13] - patches[:, 12, 12], patches[:, 13, 12] - patches[:, 12, 12]
    steps = np.arange(25) - 12
    plane = patches[:, 12:13, 12:13] + across[:, None, None] * steps + down[:, None, None] * steps[:, None]
    np.testing.assert_allclose(patches, plane, atol=1e-3)
    spacing, angle = np.hypot(across, down), np.arctan2(-down, across)
    assert 1.399 < spacing.min() < 1.42 and 1.78 < spacing.max() < 1.801
    assert np.abs(angle).max() <= np.pi / 2 + 1e-3 and angle.min() < -1.5 and angle.max() > 1.5
    centre = patches[:, 12, 12]
    assert (
        centre.min() < 28 and centre.max() > 35
    )  # a square has room to move, up to 9 pixels to each side at 0 degrees


def test_what_is_not_the_olivetti_file(tmp_path):
    (tmp_path / "olivetti").mkdir()
    savemat(tmp_path / "olivetti/olivettifaces.mat", {"faces": np.ones((4096, 399))})
    with pytest.raises(Failure, match=r"has no faces \[4096, 400\]; it has faces \[4096, 399\]"):
        faces_synthetic(Store(tmp_path, tmp_path / "cache"), train=10, test=10)
