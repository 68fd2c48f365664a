"""A small data set in MNIST's format with checksums of its own."""

import gzip
import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sobench.data.sources import File, Source
from sobench.data.store import Store


def idx(array: np.ndarray) -> bytes:
    """A uint8 array in the IDX format of http://yann.lecun.com/exdb/mnist/, compressed."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@dataclass
class Small:
    """The arrays and the contents of the files, by file name, and the declaration with their checksums."""

    arrays: dict[str, np.ndarray]
    contents: dict[str, bytes]
    source: Source

    def write(self, root: Path) -> Path:
        """Write the files into the mirror `root`, and return it."""
        folder = root / self.source.folder
        folder.mkdir(parents=True)
        for name, content in self.contents.items():
            (folder / name).write_bytes(content)
        return root

    def store(self, mirror: Path | None, cache: Path, url: str = "http://127.0.0.1:9/") -> Store:
        """A store of these files alone. The default url refuses every connection."""
        source = Source("mnist", "small", folder=self.source.folder, urls=(url,), files=self.source.files)
        return Store(mirror, cache, {"mnist": source})


@pytest.fixture
def small() -> Small:
    rng = np.random.default_rng(0)
    arrays = {}
    for part, size in (("train", 30), ("t10k", 20)):
        arrays[f"{part}-images-idx3-ubyte.gz"] = rng.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte.gz"] = rng.integers(0, 10, size, dtype=np.uint8)
    contents = {name: idx(array) for name, array in arrays.items()}
    files = {
        name: File(name, f"md5:{hashlib.md5(content).hexdigest()}", len(content)) for name, content in contents.items()
    }
    return Small(arrays, contents, Source("mnist", "small", folder="MNIST/raw", files=files))
