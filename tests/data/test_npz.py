"""The data set npz: the accepted arrays, and one line for each error in a file."""

import hashlib
import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from sobench.data import Store
from sobench.data.npz import npz
from sobench.errors import UsageError


class Trap:
    """An object whose unpickling would be noticed."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was executed",)


def arrays(**changes):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.normal(size=(12, 3)).astype(np.float32),
        "y_train": np.arange(12) % 3,
        "x_test": rng.normal(size=(6, 3)).astype(np.float32),
        "y_test": np.arange(6) % 3,
    } | changes


def load(tmp_path, contents, **options):
    file = tmp_path / "own.npz"
    if isinstance(contents, bytes):
        file.write_bytes(contents)
    else:
        np.savez(file, **{key: value for key, value in contents.items() if value is not None})
    return npz(Store(None, tmp_path / "cache"), path=str(file), **options)


def test_classification(tmp_path):
    own = arrays()
    data = load(tmp_path, own)
    assert np.array_equal(data.train[0].numpy(), own["x_train"]) and np.array_equal(data.test[0].numpy(), own["x_test"])
    assert data.train[1].tolist() == own["y_train"].tolist() and data.train[1].dtype == torch.int64
    assert (data.classes, data.outputs, data.input_shape) == (3, 3, (3,))


def test_regression(tmp_path):
    own = arrays(y_train=np.linspace(0, 1, 12), y_test=np.linspace(0, 1, 6))
    data = load(tmp_path, own)
    assert data.classes is None and data.outputs == 1 and data.train[1].shape == (12, 1)
    assert data.train[1].dtype == torch.float64 and np.array_equal(data.train[1][:, 0].numpy(), own["y_train"])
    own |= {"y_train": np.zeros((12, 4), np.float32), "y_test": np.ones((6, 4), np.float32)}
    assert load(tmp_path, own).outputs == 4


@pytest.mark.parametrize("dtype", ["u1", ">i4", "?", "f2", ">f8", "<f8", "g"])
def test_any_kind_of_number(tmp_path, dtype):
    own = arrays()
    own |= {key: (own[key] > 0).astype(dtype) for key in ("x_train", "x_test")}
    data = load(tmp_path, own)
    assert data.train[0].dtype == (torch.float64 if dtype[-2:] == "f8" else torch.float32)
    assert np.array_equal(data.train[0].numpy(), own["x_train"].astype(np.float64))


def test_sha256(tmp_path):
    load(tmp_path, arrays())
    found = hashlib.sha256((tmp_path / "own.npz").read_bytes()).hexdigest()
    assert npz(Store(None, tmp_path), path=str(tmp_path / "own.npz"), sha256=found.upper()).classes == 3
    with pytest.raises(UsageError, match=f"dataset.sha256: got {'0' * 64}, but .* has {found}"):
        npz(Store(None, tmp_path), path=str(tmp_path / "own.npz"), sha256="0" * 64)


BAD_ARRAYS = {
    "no x_test, y_test": (dict(x_test=None, y_test=None), "it has no x_test, y_test; it has x_train, y_train"),
    "objects": (dict(x_train=np.array([Trap()] * 12, dtype=object)), "x_train holds Python objects"),
    "pickled targets": (dict(y_test=np.array([Trap()] * 6, dtype=object)), "y_test holds Python objects"),
    "strings": (dict(x_train=np.full((12, 3), "a")), "x_train is of type <U1"),
    "complex": (dict(x_test=np.ones((6, 3), complex)), "x_test is of type complex128"),
    "a vector": (dict(x_train=np.ones(12)), r"x_train has shape \[12\]; allowed: \[N, ...\]"),
    "a scalar target": (dict(y_train=np.float32(1), y_test=np.float32(1)), r"y_train has shape \[\]; allowed: \[N\]"),
    "NaN": (dict(x_test=np.full((6, 3), np.nan)), "x_test holds 18 values that are not finite"),
    "overflow": (dict(x_test=np.full((6, 3), np.longdouble("1e200"))), "x_test holds 18 values that are not finite"),
    "infinite targets": (dict(y_train=np.full(12, np.inf), y_test=np.zeros(6)), "y_train holds 12 values"),
    "unequal lengths": (dict(y_train=np.arange(11) % 3), "train has 12 inputs but 11 targets"),
    "unequal inputs": (dict(x_test=np.ones((6, 4))), r"inputs has shape \[3\] in train, \[4\] in test"),
    "unequal targets": (dict(y_train=np.ones((12, 2)), y_test=np.ones((6, 3))), r"\[2\] in train, \[3\] in test"),
    "no sample": (dict(x_train=np.ones((0, 3)), y_train=np.ones(0), y_test=np.ones(6)), "train is empty"),
    "no feature": (dict(x_train=np.ones((12, 0)), x_test=np.ones((6, 0))), "train is empty"),
    "one-hot integers": (dict(y_train=np.eye(12, 3, dtype=int)), r"y_train has shape \[12, 3\]; labels have"),
    "a negative label": (dict(y_test=np.array([-1, 0, 1, 2, 0, 1])), "y_test has the label -1"),
    "an identifier": (dict(y_train=np.arange(12) + 10**12), "y_train has 12 labels up to 1000000000011"),
    "one class": (dict(y_train=np.zeros(12, int)), "labels are 0 to classes - 1, at least two"),
    "a class never trained": (dict(y_test=np.arange(6)), "y_test has the label 5, y_train only 0 to 2"),
    "mixed targets": (dict(y_test=np.ones(6)), "both integers .labels. or both floating point"),
}


@pytest.mark.parametrize("changes, message", BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_arrays(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message) as caught:
        load(tmp_path, arrays(**changes))
    assert "\n" not in str(caught.value) and str(tmp_path / "own.npz") in str(caught.value)


def _saved(tmp_path, save, *values, **named):
    save(tmp_path / "made", *values, **named)
    return next(tmp_path.glob("made*")).read_bytes()


BAD_BYTES = {
    "empty": lambda path: b"",
    "text": lambda path: b"x,y\n1,2\n",
    "a pickle": lambda path: __import__("pickle").dumps(Trap()),
    "one array": lambda path: _saved(path, np.save, np.ones(3)),
    "truncated": lambda path: _saved(path, np.savez, **arrays())[:700],
    "a flipped byte": lambda path: (lambda b: b[:200] + bytes([b[200] ^ 255]) + b[201:])(
        _saved(path, np.savez, **arrays())
    ),
    "no .npy inside": lambda path: _zip(path / "z", {f"{key}": b"hello" for key in arrays()}),
    "twice": lambda path: _twice(path),
    "a member cut inside": lambda path: _zip(
        path / "z", {f"{key}.npy": _saved(path, np.save, np.ones(9))[:-1] for key in arrays()}
    ),
    "bytes behind an array": lambda path: _zip(
        path / "z", {f"{key}.npy": _saved(path, np.save, np.ones(9)) + b"x" for key in arrays()}
    ),
    "a giant shape": lambda path: _zip(path / "z", {f"{key}.npy": _giant() for key in arrays()}),
}


def _zip(file, members):
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.read_bytes()


def _twice(path):
    stream = io.BytesIO()
    np.savez(stream, **arrays())
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("x_train.npy", b"other")
    return stream.getvalue()


def test_a_size_that_is_only_announced_is_not_allocated(tmp_path):
    """8 GB, which a machine may have: nothing is allocated before the archive shows as many bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**20, 2**10)})
    content = _zip(tmp_path / "z", {f"{key}.npy": header.getvalue() for key in arrays()})
    tracemalloc.start()
    with pytest.raises(UsageError, match=r"x_train has the shape \[1048576, 1024\] and announces 8,589,934,720 bytes"):
        load(tmp_path, content)
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_the_first_value_that_is_not_finite_is_named(tmp_path):
    values = np.ones((6, 3))
    values[4, 1], values[5, 2] = np.inf, np.nan
    with pytest.raises(UsageError, match=r"x_test holds 2 values that are not finite, the first inf at \[4, 1\]"):
        load(tmp_path, arrays(x_test=values))


def _giant():
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (2**50, 2**9)})
    return stream.getvalue()


@pytest.mark.parametrize("make", BAD_BYTES.values(), ids=BAD_BYTES.keys())
def test_bad_files(tmp_path, make):
    with pytest.raises(UsageError, match=r"^dataset.path: .*own.npz: (it is|x_train is)") as caught:
        load(tmp_path, make(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path, message",
    [
        ("???", r"got '\?\?\?'; it names the .npz file"),
        (None, "got None"),
        (3, "got 3"),
        ("", "got ''"),
        ("absent.npz", "absent.npz is not there"),
        (".", r"is not a file"),
        ("x" * 5000, "cannot read"),
    ],
)
def test_bad_paths(tmp_path, path, message):
    with pytest.raises(UsageError, match=f"^dataset.path: .*{message}"):
        npz(Store(None, tmp_path), path=path)
