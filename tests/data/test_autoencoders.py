"""FACES and CURVES from MATLAB files in the authors' format."""

import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.sparse import csc_array

from sobench.data import Store
from sobench.data.autoencoders import curves, faces
from sobench.errors import Failure

RNG = np.random.default_rng(0)
FACES = RNG.normal(size=(625, 80)).astype(np.float32)
BDATA, BDATATEST = RNG.random((6, 784)), RNG.random((3, 784))


def store(tmp_path, name, arrays):
    folder = tmp_path / "mirror/autoencoders"
    folder.mkdir(parents=True)
    file = folder / {"faces": "newfaces_rot_single.mat", "curves": "digs3pts_1.mat"}[name]
    file.write_bytes(arrays) if isinstance(arrays, bytes) else savemat(file, arrays)
    return Store(tmp_path / "mirror", tmp_path / "cache")


@pytest.mark.parametrize(
    "arrays",
    [
        {"newfaces_single": FACES},
        {"another_name": FACES.T},
        {"faces": FACES.astype(np.float64), "other": np.ones((3, 4))},
    ],
    ids=["a column a patch", "a row a patch", "beside something else"],
)
def test_faces(tmp_path, arrays):
    data = faces(store(tmp_path, "faces", arrays))
    assert torch.equal(data.train[0], torch.from_numpy(FACES.T[:50].copy()))
    assert torch.equal(data.test[0], torch.from_numpy(FACES.T[-20:].copy()))
    assert data.classes is None and data.outputs == 625 and data.input_shape == (625,)


def test_the_targets_are_the_inputs(tmp_path):
    data = faces(store(tmp_path, "faces", {"newfaces_single": FACES}))
    assert data.train[1] is data.train[0] and data.test[1] is data.test[0] and data.train[0].dtype == torch.float32
    assert str(data) == "faces: 50 train, 20 test, inputs 625, 625 real targets"


def test_curves(tmp_path):
    data = curves(store(tmp_path, "curves", {"bdata": BDATA, "bdatatest": BDATATEST, "more": np.ones(3)}))
    for (inputs, targets), expected in ((data.train, BDATA), (data.test, BDATATEST)):
        assert np.array_equal(inputs.numpy(), expected.astype(np.float32)) and targets is inputs
    assert data.classes is None and data.outputs == 784


def hdf5() -> bytes:
    """The header of a version 7.3 file: a text followed by the version number 0x0200."""
    return b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400)


BAD = {
    "version 7.3": ("faces", hdf5(), "MATLAB file of version 7.3"),
    "text": ("faces", b"<html>not found</html>" * 20, "is not a MATLAB file, or it is damaged"),
    "short": ("curves", b"x", "is not a MATLAB file, or it is damaged"),
    "no such array": (
        "faces",
        {"a": np.ones((3, 4))},
        r"0 arrays with 625 rows or columns, of these: a \[3, 4\]; allowed: one",
    ),
    "two such arrays": ("faces", {"a": FACES, "b": FACES}, "2 arrays with 625 rows or columns"),
    "no fortieths": ("faces", {"a": FACES[:, :79]}, "79 patches; allowed: a multiple of 40"),
    "no test set": ("curves", {"bdata": BDATA}, "has no bdatatest; it has bdata"),
    "another size": (
        "curves",
        {"bdata": BDATA[:, 1:], "bdatatest": BDATATEST},
        r"bdata is float64 \[6, 783\]; allowed: numbers \[N, 784\]",
    ),
    "no numbers": (
        "curves",
        {"bdata": np.full((1, 784), "a", dtype=object), "bdatatest": BDATATEST},
        "bdata is a cell array; allowed: a full array of real numbers",
    ),
    "sparse": (
        "curves",
        {"bdata": csc_array(BDATA), "bdatatest": BDATATEST},
        "bdata is sparse; allowed: a full array of real numbers",
    ),
    "beyond float32": (
        "curves",
        {"bdata": BDATA, "bdatatest": np.full((3, 784), 1e39)},
        "bdatatest holds 2352 values that are",
    ),
    "not finite": (
        "curves",
        {"bdata": np.full((2, 784), np.nan), "bdatatest": BDATATEST},
        r"bdata holds 1568 values that are not finite, the first nan at \[0, 0\]",
    ),
}


@pytest.mark.parametrize("name, arrays, message", BAD.values(), ids=BAD.keys())
def test_bad_files_are_one_line(tmp_path, name, arrays, message):
    loader = {"faces": faces, "curves": curves}[name]
    with pytest.raises(Failure, match=message) as caught:
        loader(store(tmp_path, name, arrays))
    assert "\n" not in str(caught.value) and "/mirror/autoencoders/" in str(caught.value)


@pytest.mark.parametrize("loader, file", [(faces, "newfaces_rot_single.mat"), (curves, "digs3pts_1.mat")])
def test_a_missing_file_is_one_line_that_says_where_to_put_it(tmp_path, monkeypatch, loader, file):
    def refuse(url, timeout):
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(Failure) as caught:
        loader(Store(None, tmp_path / "cache"))
    text = str(caught.value)
    assert f"https://www.cs.toronto.edu/~jmartens/{file}" in text
    assert f"manual download: put it in {tmp_path / 'cache/autoencoders'}" in text
