"""CIFAR from archives in the official binary format, and from the .npz stand-in."""

import hashlib

import numpy as np
import pytest
import tiny_data
import torch
from tiny_data import archive

from sobench.data.cifar import cifar10, cifar100
from sobench.data.sources import File, Source, declared
from sobench.data.store import Store
from sobench.errors import Failure, UsageError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (14, 32, 32, 3), dtype=np.uint8)  # six batches: 2 + 2 + 2 + 2 + 2 and 4
LABELS = RNG.integers(0, 10, 14, dtype=np.uint8)


def records(labels: np.ndarray, images: np.ndarray) -> bytes:
    """A record for each image: its label bytes, then its red, green and blue plane."""
    return np.concatenate(
        [labels.reshape(len(images), -1), images.transpose(0, 3, 1, 2).reshape(len(images), -1)], 1
    ).tobytes()


def ten() -> bytes:
    parts = {f"data_batch_{i + 1}": slice(2 * i, 2 * i + 2) for i in range(5)} | {"test_batch": slice(10, 14)}
    return archive(
        {f"cifar-10-batches-bin/{name}.bin": records(LABELS[part], IMAGES[part]) for name, part in parts.items()}
    )


def each(content: bytes) -> bytes:
    """An archive whose six files all have these contents."""
    names = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    return archive({f"cifar-10-batches-bin/{name}.bin": content for name in names})


def store(tmp_path, name: str, content: bytes) -> Store:
    """A cache with the archive, whose declaration is changed to its checksum."""
    (file,) = declared()[name].files
    (tmp_path / "cache" / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache" / name / file).write_bytes(content)
    entry = File(file, f"md5:{hashlib.md5(content).hexdigest()}", len(content))
    source = Source(name, "small", folder=name, files={file: entry}, stand_in=f"{name}.npz")
    return Store(None, tmp_path / "cache", {name: source})


def test_the_binary_archive(tmp_path):
    data = cifar10(store(tmp_path, "cifar10", ten()))
    pixels = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2) / np.float32(255))
    assert torch.equal(data.train[0], pixels[:10]) and torch.equal(data.test[0], pixels[10:])
    assert data.train[1].tolist() == LABELS[:10].tolist() and data.test[1].tolist() == LABELS[10:].tolist()
    assert str(data) == "cifar10: 10 train, 4 test, inputs 3x32x32, 10 classes" and data.augment is None


def test_cifar100_has_the_fine_labels(tmp_path):
    coarse, fine = RNG.integers(0, 20, 14, dtype=np.uint8), RNG.integers(20, 100, 14, dtype=np.uint8)
    both = np.stack([coarse, fine], 1)
    content = archive(
        {
            "cifar-100-binary/train.bin": records(both[:10], IMAGES[:10]),
            "cifar-100-binary/test.bin": records(both[10:], IMAGES[10:]),
        }
    )
    data = cifar100(store(tmp_path, "cifar100", content))
    assert data.train[1].tolist() == fine[:10].tolist() and data.classes == 100 and data.outputs == 100
    assert torch.equal(data.test[0], torch.from_numpy(IMAGES[10:].transpose(0, 3, 1, 2) / np.float32(255)))


def test_the_archive_comes_before_its_stand_in(tmp_path):
    np.savez(tmp_path / "cifar10.npz", **tiny_data.cifar(RNG, 10))
    here = store(tmp_path, "cifar10", ten())
    (tmp_path / "cifar10.npz").rename(tmp_path / "cache/cifar10/cifar10.npz")
    assert len(cifar10(here).train[0]) == 10


def test_standardized_by_channel_and_by_feature(tmp_path):
    here = store(tmp_path, "cifar10", ten())
    train, test = (images.transpose(0, 3, 1, 2).astype(np.float64) for images in (IMAGES[:10], IMAGES[10:]))
    for options, axes in (({}, (0, 2, 3)), ({"per_feature": True}, (0,))):
        data = cifar10(here, standardize=True, **options)
        expected = (test - train.mean(axes, keepdims=True)) / train.std(axes, keepdims=True)
        np.testing.assert_allclose(data.test[0].numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("standardize", [False, True])
def test_the_frame_of_a_crop_is_black(tmp_path, standardize):
    """A black image does not change, in the scale of the inputs, wherever it is cropped."""
    images = IMAGES.copy()
    images[0] = 0
    data = cifar10(store(tmp_path, "cifar10", each(records(LABELS, images))), standardize=standardize, augment=True)
    black = data.train[0][:1].expand(50, 3, 32, 32)
    assert torch.equal(data.augment(black, torch.Generator().manual_seed(0)), black)


def test_options_that_do_not_go_together(tmp_path):
    here = store(tmp_path, "cifar10", ten())
    with pytest.raises(UsageError, match="dataset.augment: got true, allowed: false with dataset.per_feature=true"):
        cifar10(here, standardize=True, per_feature=True, augment=True)
    with pytest.raises(UsageError, match="dataset.per_feature: got true"):
        cifar10(here, per_feature=True)


BAD_ARCHIVES = {
    "not an archive": (b"x" * 100, "not the binary version of the archive"),
    "another version": (archive({"cifar-10-batches-py/data_batch_1": b"x"}), "not the binary version of the archive"),
    "a folder for a file": (
        archive({"cifar-10-batches-bin/data_batch_1.bin/x": b""}),
        "not the binary version of the archive",
    ),
    "cut off": (each(b"x" * 100), "500 bytes of images, not a multiple of 3073"),
    "a strange label": (each(records(np.full(14, 10, np.uint8), IMAGES)), "labels from 10 to 10; allowed: 0 to 9"),
}


@pytest.mark.parametrize("content, message", BAD_ARCHIVES.values(), ids=BAD_ARCHIVES.keys())
def test_bad_archives(tmp_path, content, message):
    with pytest.raises(Failure, match=message) as caught:
        cifar10(store(tmp_path, "cifar10", content))
    assert "\n" not in str(caught.value) and "cifar-10-binary.tar.gz" in str(caught.value)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"x_train": np.zeros((40, 3, 32, 32), np.uint8)},
            r"x_train is uint8 \[40, 3, 32, 32\]; allowed: uint8 \[N, 32, 32, 3\]",
        ),
        ({"x_test": np.zeros((20, 32, 32, 3), np.float32)}, "x_test is float32"),
        ({"y_train": np.full(40, 10)}, "labels from 10 to 10; allowed: 0 to 9"),
        ({"y_test": np.zeros(20)}, "the labels are float64"),
        ({"y_test": np.zeros(19, int)}, r"the labels are int64 \[19\] for 20 images"),
        ({"y_test": np.array([None] * 20)}, "y_test holds Python objects, which are never loaded"),
    ],
)
def test_bad_stand_ins(tmp_path, changes, message):
    (tmp_path / "cifar10").mkdir()
    np.savez(tmp_path / "cifar10/cifar10.npz", **(tiny_data.cifar(RNG, 10) | changes))
    with pytest.raises(Failure, match=message):
        cifar10(Store(tmp_path, tmp_path / "cache"))
