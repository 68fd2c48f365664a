"""MATLAB files: the arrays that scipy reads, and one line for a file that would end scipy's process."""

import io
import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat
from scipy.sparse import csc_array

from sobench.data.matlab import read, shapes
from sobench.errors import Failure

RNG = np.random.default_rng(0)
MANY = 10**6


def saved(arrays, **options) -> bytes:
    stream = io.BytesIO()
    savemat(stream, arrays, **options)
    return stream.getvalue()


def written(tmp_path, content: bytes):
    (tmp_path / "a.mat").write_bytes(content)
    return tmp_path / "a.mat"


@pytest.mark.parametrize("compressed", [False, True])
def test_the_arrays_that_scipy_reads(tmp_path, compressed):
    kinds = "i1 u1 i2 u2 i4 u4 f4 f8 i8 u8"
    arrays = {f"of_{kind}": (RNG.random((3, 4, 2)) * 100).astype(kind) for kind in kinds.split(" ")}
    arrays |= {"small": np.array([[7]], np.int16), "empty": np.zeros((0, 5)), "flags": np.array([[True, False]])}
    arrays |= {"text": "some text", "cell": np.array([[1, "a"]], object), "more": {"field": 1}}
    file = written(tmp_path, saved(arrays, do_compression=compressed))
    expected = loadmat(file)
    assert shapes(file) == {name: expected[name].shape if name != "text" else (1, 9) for name in arrays}
    for name in arrays.keys() - {"text", "cell", "more"}:
        array = read(file, name, most=MANY)
        assert array.dtype == expected[name].dtype and array.flags.writeable
        assert np.array_equal(array, expected[name]), name


def element(kind: int, content: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def a_file(*variables: bytes, order: str = "<") -> bytes:
    return (
        b"made by hand".ljust(124)
        + struct.pack(f"{order}H", 0x100)
        + (b"IM" if order == "<" else b"MI")
        + b"".join(variables)
    )


def variable(shape=(2, 3), kind=6, code=9, data=None, name=b"abc", order="<") -> bytes:
    """A matrix of doubles, or what the arguments make of it."""
    data = np.arange(6, dtype=f"{order}f8").tobytes() if data is None else data
    parts = [
        (6, struct.pack(f"{order}II", kind, 0)),
        (5, struct.pack(f"{order}{len(shape)}i", *shape)),
        (1, name),
        (code, data),
    ]
    return element(14, b"".join(element(code, content, order) for code, content in parts), order)


def packed(content: bytes) -> bytes:
    content = zlib.compress(content)
    return struct.pack("<II", 15, len(content)) + content


@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders(tmp_path, order):
    file = written(tmp_path, a_file(variable(order=order), order=order))
    array = read(file, "abc", most=6)
    assert np.array_equal(array, [[0, 2, 4], [1, 3, 5]]) and array.dtype == "f8" and array.dtype.isnative
    assert np.array_equal(array, loadmat(file)["abc"])


BAD = {
    "too many bytes announced": (
        a_file(struct.pack("<II", 14, 2**31) + bytes(80)),
        "announces 2,147,483,648 bytes, and 80 are",
    ),
    "a huge shape": (
        a_file(variable(shape=(2**30, 2**30))),
        r"abc has the shape \[1073741824, 1073741824\] and 48 bytes",
    ),
    "a huge shape, compressed": (a_file(packed(variable(shape=(2**30, 2**30)))), r"abc has the shape .* and 48 bytes"),
    "a negative shape": (a_file(variable(shape=(-2, -3))), r"the shape \[-2, -3\]"),
    "another size": (a_file(variable(data=bytes(40))), r"abc has the shape \[2, 3\] and 40 bytes of type <f8"),
    "more numbers than announced": (
        a_file(packed(variable() + bytes(10**6))),
        "abc has .* bytes or more; allowed: 112",
    ),
    "a variable twice": (a_file(variable(), variable()), "abc is there twice"),
    "no matrix": (a_file(element(9, bytes(8))), "a variable has the type 9; allowed: 14"),
    "cut": (a_file(variable())[:-20], "an element announces"),
    "cut, compressed": (a_file(packed(variable()))[:-3], "an element announces"),
    "no checksum": (a_file(packed(variable()[:-4] + b"\1\1\1\1")[:-1] + b"x"), "not a MATLAB file, or it is damaged"),
    "version 4": (saved({"abc": np.ones((2, 3))}, format="4"), "its header is not that of version 5|cannot mmap"),
    "empty": (b"", "cannot mmap an empty file"),
    "too many": (a_file(variable(shape=(7, 1), data=bytes(56))), r"abc has shape \[7, 1\]; allowed: up to 6 numbers"),
    "sparse": (saved({"abc": csc_array(np.eye(3))}), "abc is sparse; allowed: a full array of real numbers"),
    "complex": (saved({"abc": np.array([[1j]])}), "abc is complex; allowed"),
    "a cell array": (saved({"abc": np.array([[1, "a"]], object)}), "abc is a cell array; allowed"),
    "a struct": (saved({"abc": {"a": 1}}), "abc is a struct; allowed"),
    "text": (saved({"abc": "text"}), "abc is text; allowed"),
}


@pytest.mark.parametrize("content, message", BAD.values(), ids=BAD.keys())
def test_damaged_files(tmp_path, content, message):
    with pytest.raises(Failure, match=message) as caught:
        read(written(tmp_path, content), "abc", most=6)
    assert "\n" not in str(caught.value) and "a.mat" in str(caught.value)


@pytest.mark.parametrize("code", [0, 8, 10, 14, 19, 20, 255, 60000])
def test_a_type_that_does_not_exist(tmp_path, code):
    """scipy takes the type as an index into a table of its own, which ends the process."""
    with pytest.raises(Failure, match=rf"abc has the shape \[2, 3\], numbers of type {code}, and 48 bytes"):
        read(written(tmp_path, a_file(variable(code=code))), "abc", most=6)
