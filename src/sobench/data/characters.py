"""Texts as sequences of characters, whose labels are the next characters.

    inputs [N, T]: t_1 ... t_T, t_T+1 ... t_2T, ...          labels [N, T]: t_2 ... t_T+1, t_T+2 ... t_2T+1, ...

The samples do not overlap, so that an epoch reads the text once; A. Karpathy's nanoGPT draws windows at random places.
The first 9/10 of the text are the training set and the rest is the test set. The ids of the characters are their places
in the sorted characters of the whole text.
"""

from __future__ import annotations

import importlib
import platform
from hashlib import sha256 as digest_of
from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset
from sobench.data.reading import beyond_memory, own_file, parsing
from sobench.data.store import Store
from sobench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

MODULE = "pydoc_data.topics"
"""The module of the standard library that holds the texts of Python's help()."""
BYTES = 32
"""Bytes of memory for a character: two ids of 8 bytes, and as much again while they are made."""


def pydoc(store: Store, *, length: int = 64) -> Dataset:
    """The texts that Python's help() shows, of the language reference: 0.5 to 0.8 million characters of English.

    length: T. The text is that of the installed Python and differs between its versions: runs of different ones are
    not on the same data. Its digest is in the record, and a result from another text counts as stale. CPython
    3.11.7 has 465,048 characters, 103 different ones. Raises UsageError for a length that the text has not, and Failure
    if the module is not there.
    """
    with parsing(f"pydoc: {MODULE} of Python is not there", advice="; install the whole standard library"):
        topics: dict[str, str] = importlib.import_module(MODULE).topics
        text = "\n".join(topics[name] for name in sorted(topics))
    digest = digest_of(text.encode()).hexdigest()[:12]
    return _dataset("pydoc", text, length, f"{MODULE} of Python {platform.python_version()}, sha256 {digest}")


def text(store: Store, *, path: str, sha256: str | None = None, length: int = 64) -> Dataset:
    """The text of the file `path`, UTF-8. Its line ends become those of Unix.

    sha256: the expected digest in hexadecimal, or None. length: T. Raises UsageError for a file that is missing, is no
    UTF-8, has another digest, or is too short or too large.
    """
    file = own_file(path, sha256, "text")
    if too_large := beyond_memory(file.stat().st_size * BYTES):
        raise UsageError(f"dataset.path: {file} {too_large}")
    with parsing(f"dataset.path: {file} is not a text in UTF-8", UsageError):
        whole = file.read_text("utf-8-sig")
    return _dataset("text", whole, length, f"file {file.name}")


def _dataset(name: str, text: str, length: int, note: str) -> Dataset:
    """The data set of a text. Raises UsageError if one of its parts is shorter than a sample and its last label."""
    import numpy as np
    import torch

    symbols, cut = "".join(sorted(set(text))), len(text) * 9 // 10
    longest = len(text) - cut - 1  # the test set is the shorter part
    if longest < 1 or length > longest:
        limit = f"at most {longest:,}" if longest >= 1 else "a longer text"
        raise UsageError(f"dataset.length: got {length}, {name} has {len(text):,} characters; allowed: {limit}")
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    ids = torch.from_numpy(np.unique(codes, return_inverse=True)[1].astype(np.int64))
    return Dataset(
        name, _samples(ids[:cut], length), _samples(ids[cut:], length), len(symbols), symbols=symbols, note=note
    )


def _samples(ids: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """(inputs, labels), both [N, length]; a remainder is dropped."""
    count = (len(ids) - 1) // length
    return ids[: count * length].view(count, length), ids[1 : count * length + 1].view(count, length)
