"""Word vectors from the official archive, from its stand-in, from a file of the user, and random ones."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch

from sobench.data.store import Store
from sobench.data.vectors import initial_vectors
from sobench.errors import Failure, UsageError

WORDS = ["the", "n't", "film"]
LINES = ", 9 9 9\nfilm 1 2 3\nn't -0.5 0 1e-1\nat the 1 2 3\nseldom 7 7 7\n"


def store(tmp_path, name: str = "", content: bytes = b"") -> Store:
    (tmp_path / "mirror/glove").mkdir(parents=True)
    if name:
        (tmp_path / "mirror/glove" / name).write_bytes(content)
    return Store(tmp_path / "mirror", tmp_path / "cache")


def packed(member: str, content: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(member, content)
    return stream.getvalue()


def check(table: torch.Tensor) -> None:
    """The row of padding is zero, a word of the file has its vector, and every other row is random."""
    assert table.shape == (5, 3) and table.dtype == torch.float32
    assert not table[0].any() and table[1:3].all()
    assert table[3].tolist() == torch.tensor([-0.5, 0, 0.1]).tolist() and table[4].tolist() == [1, 2, 3]


def test_a_text_file(tmp_path):
    """A line with another number of values is skipped; some files have words that contain a space."""
    (tmp_path / "own.txt").write_text(LINES)
    table, note = initial_vectors(store(tmp_path), str(tmp_path / "own.txt"), WORDS, 3)
    check(table)
    assert note == "3 words, 2 with vectors of own.txt"


@pytest.mark.parametrize(
    "header, dimension, expected",
    [
        ("2 3\n", 3, [4, 5, 6]),
        ("", 3, [4, 5, 6]),
        ("400000 3\n", 3, [4, 5, 6]),
    ],
)
def test_the_first_line_of_word2vec_and_fasttext(tmp_path, header, dimension, expected):
    (tmp_path / "own.vec").write_text(header + "the 1 2 3\ncat 4 5 6\n")
    table, _ = initial_vectors(store(tmp_path), str(tmp_path / "own.vec"), ["cat", "the"], dimension)
    assert table[2].tolist() == expected and table[3].tolist() == [1, 2, 3]


def test_the_first_line_of_another_dimension(tmp_path):
    (tmp_path / "own.vec").write_text("2 5\nthe 1 2 3\ncat 4 5 6\n")
    with pytest.raises(Failure, match="line 1 says that vectors have 5 values, and line 2 has 3"):
        initial_vectors(store(tmp_path), str(tmp_path / "own.vec"), ["cat", "the"], 3)


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path):
    for text in ("the 1 2 3\ncat 4 5 6\n", "2 3\nthe 1 2 3\r\ncat 4 5 6\r\n"):
        (tmp_path / "own.vec").write_text("\ufeff" + text)
        table, note = initial_vectors(store(tmp_path / "x"), str(tmp_path / "own.vec"), ["cat", "the"], 3)
        assert table[2:].tolist() == [[4, 5, 6], [1, 2, 3]] and note.startswith("2 words, 2 with")
        (tmp_path / "x/mirror/glove").rmdir(), (tmp_path / "x/mirror").rmdir()


def test_a_word_that_is_a_number_is_no_header(tmp_path):
    """In one dimension "2 3" is the word 2."""
    (tmp_path / "own.vec").write_text("2 3\ncat 4\n")
    table, _ = initial_vectors(store(tmp_path), str(tmp_path / "own.vec"), ["2", "cat"], 1)
    assert table[2:].flatten().tolist() == [3, 4]


def test_the_official_archive(tmp_path):
    """The file of the requested dimension is read from the archive."""
    table, note = initial_vectors(store(tmp_path, "glove.6B.zip", packed("glove.6B.3d.txt", LINES)), "glove", WORDS, 3)
    check(table)
    assert note == "3 words, 2 with vectors of glove.6B.zip"


def test_the_stand_in(tmp_path):
    content = json.dumps({",": [9, 9, 9], "film": [1, 2, 3], "n't": [-0.5, 0, 0.1]}).encode()
    table, _ = initial_vectors(store(tmp_path, "glove-50d-5k.json", content), "glove", WORDS, 3)
    check(table)


def test_drawn():
    """N(0, 0.1^2), the same at every call; a word's random vector does not depend on the other words of the file."""
    table, note = initial_vectors(None, None, [f"w{i}" for i in range(998)], 50)
    assert note == "998 words, their vectors drawn" and not table[0].any()
    n = 999 * 50
    assert abs(table[1:].std().item() - 0.1) < 4 * 0.1 / np.sqrt(2 * n) and abs(
        table.mean().item()
    ) < 4 * 0.1 / np.sqrt(n)
    again, _ = initial_vectors(None, None, [f"w{i}" for i in range(998)], 50)
    assert torch.equal(table, again)


def test_what_is_drawn_does_not_depend_on_the_file(tmp_path):
    (tmp_path / "own.txt").write_text(LINES)
    table, _ = initial_vectors(store(tmp_path), str(tmp_path / "own.txt"), WORDS, 3)
    assert torch.equal(table[:3], initial_vectors(None, None, WORDS, 3)[0][:3])


def test_another_dimension(tmp_path):
    (tmp_path / "own.txt").write_text(LINES)
    with pytest.raises(UsageError, match=r"dataset.dimension: got 100, .*own.txt has vectors of 3; allowed: 3"):
        initial_vectors(store(tmp_path), str(tmp_path / "own.txt"), WORDS, 100)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"dataset.vectors: got 'globe', which is not a file; allowed: glove, a file"):
        initial_vectors(store(tmp_path), "globe", WORDS, 3)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("glove.6B.zip", b"x", "does not hold word vectors, or it is damaged"),
        ("glove.6B.zip", packed("glove.6B.50d.txt", LINES), "There is no item named 'glove.6B.3d.txt'"),
        (
            "glove.6B.zip",
            packed("glove.6B.3d.txt", "film 1 2 x\n"),
            r"does not hold word vectors, .*\(line 1: .* 'film' has the value 'x'",
        ),
        (
            "glove.6B.zip",
            packed("glove.6B.3d.txt", "film 1 2 nan\n"),
            "line 1: the vector of 'film' has the value 'nan'; allowed: finite",
        ),
        ("glove.6B.zip", packed("glove.6B.3d.txt", "a 1 2 3\nfilm 1 1e39 2\n"), "line 2: .* the value '1e39'"),
        ("glove.6B.zip", packed("glove.6B.3d.txt", "a 1 2 3\nfilm 1 2"), "line 2: .* 'film' has 2 values; allowed: 3"),
        ("glove.6B.zip", packed("glove.6B.3d.txt", "a 1 2 3\nfilm 1 2 3 4"), "line 2: .* 'film' has 4 values"),
        ("glove-50d-5k.json", b'{"film": "123"}', "the vector of 'film' is no list of numbers"),
        ("glove-50d-5k.json", b'{"film": [1, NaN, 2]}', "the vector of 'film' has the value nan"),
        ("glove-50d-5k.json", b"[" * 10**5, "does not hold word vectors, or it is damaged"),
        ("glove-50d-5k.json", b"[1]", "does not hold word vectors"),
        ("glove-50d-5k.json", b'{"film": 1}', "does not hold word vectors"),
    ],
)
def test_damaged(tmp_path, name, content, message):
    with pytest.raises(Failure, match=message):
        initial_vectors(store(tmp_path, name, content), "glove", WORDS, 3)
