"""Reading of files that may be damaged: each error is one line, and no size is believed before its bytes are there."""

from __future__ import annotations

import bz2
import gzip
import lzma
import math
import tarfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sobench.errors import Failure, SobenchError, UsageError, described, one_line
from sobench.system.files import digest

if TYPE_CHECKING:
    import numpy as np

LONGEST = 1 << 20
"""The bytes of a line, or of a text in an archive, that are read at most."""

SHOWN = 300
"""The characters of a parser's message that are shown; it may quote the file."""

UNPACKED = 1 << 32
"""The bytes that an archive unpacks to at most; the largest of the official ones has half a gigabyte."""

BLOCK = 1 << 20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@contextmanager
def parsing(form: str, error: type[SobenchError] = Failure, advice: str = "") -> Iterator[None]:
    """Turn any exception of a parser in the block into `error`: "<form>, or it is damaged (<reason>)<advice>".

    form: what the file fails to be, such as "a9a is not in LIBSVM's form". A damaged file leads its parser to any
    exception (IndexError, zlib.error, MemoryError), and to warnings, which are dropped. Errors of sobench pass.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except SobenchError:
        raise
    except Exception as reason:
        text = reason if isinstance(reason, (ValueError, OSError)) else described(reason)
        text = one_line(text, SHOWN) or type(reason).__name__
        raise error(f"{form}, or it is damaged ({text}){advice}") from reason


@contextmanager
def of_scikit_learn(name: str, file: str) -> Iterator[str]:
    """The path of a file that scikit-learn brings along, for its parser in the block.

    name: the data set. The file is found without importing scikit-learn, which takes a second. Raises Failure if it is
    missing or damaged, as `parsing` does.
    """
    with parsing(f"{name}: {file} of scikit-learn is not there", advice="; install scikit-learn again"):
        yield str(distribution("scikit-learn").locate_file(file))


def own_file(path: object, sha256: object, kind: str) -> Path:
    """The path of a file of the user's, `dataset.path`, after a check that it is there and has the digest.

    kind: the kind of file for the message, as ".npz". Raises UsageError.
    """
    if not isinstance(path, str | Path) or str(path) in ("", "???"):
        raise UsageError(f"dataset.path: got {path!r}; it names the {kind} file: dataset.path=FILE")
    file = Path(path).expanduser()
    try:
        if not file.is_file():
            raise UsageError(f"dataset.path: {file} is {'not a file' if file.exists() else 'not there'}")
        actual = None if sha256 is None else digest(file, "sha256")
    except OSError as error:
        raise UsageError(f"dataset.path: cannot read {file}: {error.strerror}") from error
    if actual is not None and actual != f"sha256:{str(sha256).lower()}":
        raise UsageError(f"dataset.sha256: got {sha256}, but {file} has {actual.removeprefix('sha256:')}")
    return file


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """A file that is read, decompressed by its suffix (.gz, .bz2, .xz), after its byte-order mark if it has one."""
    compressed: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    with compressed.get(file.suffix, Path.open)(file, "rb") as stream:
        if stream.read(len(BYTE_ORDER_MARK)) != BYTE_ORDER_MARK:
            stream.seek(0)
        yield stream


def lines(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream. Raises ValueError for a line of more than LONGEST bytes."""
    number = 0
    while line := stream.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise ValueError(f"line {number} has more than {LONGEST:,} bytes")
        yield line


def text_lines(stream: IO[bytes]) -> Iterator[tuple[int, str]]:
    """(number from 1 on, text without its end) of each line in UTF-8. Raises ValueError, which names the line."""
    for number, line in enumerate(lines(stream), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"line {number}: {error}") from error
        yield number, text.rstrip("\r\n")


def members(file: Path, wanted: Callable[[str], object], largest: int) -> Iterator[tuple[str, bytes]]:
    """(name, contents) of the wanted files of a .tar.gz, in its order; then the checksum at its end is verified.

    Raises ValueError for a wanted member that is no plain file, is there twice, or has more than `largest` bytes, for
    an archive that unpacks to more than UNPACKED bytes, and whatever tarfile and gzip raise for a damaged archive.
    """
    found: set[str] = set()
    with gzip.open(file) as unbounded:
        stream: Any = _Bounded(unbounded, max(largest, BLOCK))
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                if not wanted(member.name):
                    continue
                content = archive.extractfile(member) if member.isfile() else None
                if content is None or member.name in found:
                    raise ValueError(f"{member.name} is {'there twice' if content else 'not a plain file'}")
                if member.size > largest:
                    raise ValueError(f"{member.name} has {member.size:,} bytes; allowed: up to {largest:,}")
                found.add(member.name)
                yield member.name, content.read()
        while stream.read(BLOCK):
            pass


class _Bounded:
    """A stream as tarfile takes it; it raises ValueError for a read or a place that is beyond what an archive has.

    tarfile reads the names and the attributes of a member at once, whatever size is announced for them.
    """

    def __init__(self, stream: gzip.GzipFile, largest: int) -> None:
        self.tell, self._stream, self._largest = stream.tell, stream, largest

    def read(self, size: int) -> bytes:
        if size > self._largest:
            raise ValueError(f"a part of it has {size:,} bytes; allowed: up to {self._largest:,}")
        self._within(self.tell())
        return self._stream.read(size)

    def seek(self, place: int) -> int:
        self._within(place)
        return self._stream.seek(place)

    def _within(self, place: int) -> None:
        if place > UNPACKED:
            raise ValueError(f"it unpacks to more than {UNPACKED:,} bytes")


def beyond_memory(needed: int) -> str:
    """ "needs 3,000 bytes of memory; allowed: up to 2,000, which are available"; empty if they are available."""
    import torch

    from sobench.system.environment import available_memory

    available = available_memory(torch.device("cpu"))
    if needed <= available:
        return ""
    return f"needs {needed:,} bytes of memory; allowed: up to {available:,}, which are available"


def single(number: str | bytes | float) -> float:
    """The number in single precision: infinite beyond its range, NaN for another text."""
    import numpy as np

    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.float32(float(number)))
    except ValueError:
        return math.nan
    except OverflowError:  # a whole number beyond the range of double precision
        return math.inf


def not_finite(array: np.ndarray) -> str:
    """ "3 values that are not finite, the first nan at [0, 2]"; empty if all values are finite."""
    import numpy as np

    bad = ~np.isfinite(array)
    if not bad.any():
        return ""
    place = [int(index[0]) for index in np.nonzero(bad)]
    return f"{int(bad.sum())} values that are not finite, the first {array[tuple(place)]} at {place}"
