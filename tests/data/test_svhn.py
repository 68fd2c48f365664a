"""SVHN from MATLAB files in the official format, and from the .npz stand-in."""

import hashlib
import io

import numpy as np
import pytest
import torch
from scipy.io import savemat

from sobench.data.sources import File, Source, declared
from sobench.data.store import Store
from sobench.data.svhn import svhn
from sobench.errors import Failure

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (14, 32, 32, 3), dtype=np.uint8)
LABELS = np.array([10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 9, 1, 1], np.uint8)
X = IMAGES.transpose(1, 2, 3, 0)
PARTS = {
    "train_32x32.mat": {"X": X[..., :10], "y": LABELS[:10, None]},
    "test_32x32.mat": {"X": X[..., 10:], "y": LABELS[10:, None]},
}


def matlab(arrays) -> bytes:
    stream = io.BytesIO()
    savemat(stream, arrays, do_compression=True)
    return stream.getvalue()


def store(tmp_path, **changes) -> Store:
    """A cache with both files and their checksums declared. changes: variables of the training file."""
    folder = tmp_path / "cache/svhn"
    folder.mkdir(parents=True)
    files = {}
    for name, arrays in PARTS.items():
        content = matlab(arrays | changes if name.startswith("train") else arrays)
        (folder / name).write_bytes(content)
        files[name] = File(name, f"md5:{hashlib.md5(content).hexdigest()}", len(content))
    return Store(
        None, tmp_path / "cache", {"svhn": Source("svhn", "small", folder="svhn", files=files, stand_in="svhn.npz")}
    )


def test_the_files_of_both_parts(tmp_path):
    """A sample is a page of X, and the label 10 is the digit 0."""
    data = svhn(store(tmp_path))
    pixels = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2) / np.float32(255))
    assert torch.equal(data.train[0], pixels[:10]) and torch.equal(data.test[0], pixels[10:])
    assert data.train[1].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] and data.test[1].tolist() == [0, 9, 1, 1]
    assert str(data) == "svhn: 10 train, 4 test, inputs 3x32x32, 10 classes" and data.train[1].dtype == torch.int64


def test_what_is_declared_is_what_torchvision_declares():
    from torchvision.datasets import SVHN

    source = declared()["svhn"]
    for part in ("train", "test"):
        url, name, md5 = SVHN.split_list[part]
        assert source.files[name].checksum == f"md5:{md5}" and source.urls[0] + name == url


def test_standardized_by_channel_and_by_feature(tmp_path):
    here = store(tmp_path)
    train, test = (images.transpose(0, 3, 1, 2).astype(np.float64) for images in (IMAGES[:10], IMAGES[10:]))
    for options, axes in (({}, (0, 2, 3)), ({"per_feature": True}, (0,))):
        data = svhn(here, standardize=True, **options)
        expected = (test - train.mean(axes, keepdims=True)) / train.std(axes, keepdims=True)
        np.testing.assert_allclose(data.test[0].numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"X": IMAGES}, r"train_32x32.mat: X is uint8 \[14, 32, 32, 3\]; allowed: uint8 \[32, 32, 3, N\]"),
        ({"X": X.astype(np.float64)}, "X is float64"),
        ({"y": np.full((10, 1), 11, np.uint8)}, "labels from 11 to 11; allowed: 0 to 9"),
        ({"y": np.full((10, 1), 0.5)}, "the labels are float64"),
        ({"y": LABELS[:9, None]}, r"the labels are uint8 \[9\] for 10 images"),
    ],
)
def test_bad_files(tmp_path, changes, message):
    with pytest.raises(Failure, match=message) as caught:
        svhn(store(tmp_path, **({"X": X[..., :10]} | changes)))
    assert "\n" not in str(caught.value) and "svhn" in str(caught.value)


def test_a_file_without_its_variables(tmp_path, monkeypatch):
    monkeypatch.setitem(PARTS, "train_32x32.mat", {"pixels": X})
    with pytest.raises(Failure, match="train_32x32.mat has no X and no y; allowed: the variables X and y"):
        svhn(store(tmp_path))


def test_what_is_not_there_is_said(tmp_path):
    source = Source(
        "svhn",
        "small",
        folder="svhn",
        urls=("http://127.0.0.1:9/",),
        files={"train_32x32.mat": File("train_32x32.mat", "md5:0", 1)},
        stand_in="svhn.npz",
    )
    with pytest.raises(Failure, match="svhn: cannot get train_32x32.mat .* or svhn.npz in its place"):
        svhn(Store(None, tmp_path / "cache", {"svhn": source}))
