"""Every loader on damaged files: an error of the data in one line, or the data that the file holds.

The damage is drawn by a seed: files that are cut, flipped, of another shape or type, empty, of another format, with
sizes and numbers that are absurd. The declared checksums are left out, so that the parsers meet what a user's own file
may hold. Formats with a checksum inside (gzip, bzip2, xz, zip, PNG, compressed MATLAB) never give other data.
"""

import bz2
import gzip
import io
import json
import lzma
import pickle
import random
import re
import resource
import signal
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import tiny_data
import torch
from PIL import Image
from scipy.io import savemat
from small_mnist import idx

import sobench.data.digits
from sobench.data import Dataset, Store, load
from sobench.data.sources import File, declared
from sobench.errors import SobenchError

CASES, MORE = 200, 1000
SECONDS = 20
"""A load that takes longer hangs."""
MEMORY = 1 << 30
"""The bytes that a load may allocate, whether it touches them or not."""
GENERATED = {"noise", "curves_synthetic", "poisson"}
LIKE_THE_DIGITS = {"diabetes"}  # see test_diabetes
TEXTS = {"pydoc", "text"}  # a damaged text is another text, see test_characters
"""Data sets without a file."""


class Trap:
    """An object whose unpickling would be noticed."""

    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was executed')",)


@dataclass
class Subject:
    """Files that are loaded as a data set. files: by their place in the mirror. sealed: they have checksums inside.

    damaged: the files that are damaged, by default all.
    """

    name: str
    files: dict[str, bytes]
    options: dict
    sealed: bool = False
    damaged: tuple[str, ...] = ()

    def load(self, folder: Path) -> Dataset:
        sources = {
            name: replace(source, urls=(), rows=(), balanced=False, files={f: File(f) for f in source.files})
            for name, source in declared().items()
        }
        return load(self.name, self.options, Store(folder, folder / "cache", sources))


def matlab(arrays: dict[str, np.ndarray], compressed: bool) -> bytes:
    stream = io.BytesIO()
    savemat(stream, arrays, do_compression=compressed)
    return stream.getvalue()


def arrays_file(save: Callable, **arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    save(stream, **arrays)
    return stream.getvalue()


def png(rng: np.random.Generator, channels: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (9, 8, *channels), dtype=np.uint8)).save(stream, "png")
    return stream.getvalue()


def subjects() -> dict[str, Subject]:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (6, 28, 28), dtype=np.uint8), np.arange(6, dtype=np.uint8)
    images = {f"MNIST/raw/{part}-images-idx3-ubyte.gz": idx(pixels) for part in ("train", "t10k")}
    images |= {f"MNIST/raw/{part}-labels-idx1-ubyte.gz": idx(labels) for part in ("train", "t10k")}
    faces = {"faces": rng.normal(size=(625, 40)).astype(np.float32), "note": np.array([[1.5]])}
    curves = {"note": np.ones((2, 2), np.int16), "bdata": rng.random((4, 784)), "bdatatest": rng.random((2, 784))}
    olivetti = {"faces": np.tile(rng.integers(0, 256, (4096, 1), dtype=np.uint8), 400)}
    houses = {"X": rng.integers(0, 256, (32, 32, 3, 5), dtype=np.uint8), "y": np.arange(1, 6, dtype=np.uint8)[:, None]}
    small = {key: value[:4] for key, value in tiny_data.cifar(rng, 10).items()}

    def records(n: int, labels: int) -> bytes:
        return b"".join(bytes([i % 10] * labels) + rng.bytes(3072) for i in range(n))

    ten = {
        f"cifar-10-batches-bin/{name}.bin": records(1, 1)
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    }
    hundred = {f"cifar-100-binary/{part}.bin": records(2, 2) for part in ("train", "test")}
    a9a, ten_classes = tiny_data.svmlight(rng, 20, 5, (-1, 1)), tiny_data.svmlight(rng, 30, 6, tuple(range(1, 11)))
    reviews = {
        f"aclImdb/{part}/{kind}/{i}_9.txt": tiny_data.sentence(rng).encode()
        for part in ("train", "test")
        for kind in ("pos", "neg")
        for i in range(2)
    }
    tweets = {f"covid_tweets/{part}.tsv": tiny_data.tweets(rng, 6).encode() for part in ("train", "valid", "test")}
    scans = {
        f"sars_cov2/{kind}/{i}.png": png(rng, c)
        for kind in ("COVID", "non-COVID")
        for i, c in enumerate(((3,), (4,), ()))
    }
    own = {
        "x_train": rng.normal(size=(12, 3)),
        "y_train": np.arange(12) % 3,
        "x_test": rng.normal(size=(6, 3)),
        "y_test": np.arange(6) % 3,
    }
    lines = "".join(f"{word} {' '.join(f'{v:.3f}' for v in rng.normal(size=4))}\n" for word in tiny_data.WORDS)
    vectors = {"vectors": "glove", "dimension": 50}
    digit_rows = "".join(",".join([*map(str, rng.integers(0, 17, 64)), str(i % 10)]) + "\n" for i in range(12))
    stand_in = json.dumps({word: rng.normal(size=50).round(3).tolist() for word in tiny_data.WORDS})
    return {
        "digits": Subject("digits", {"digits.csv.gz": gzip.compress(digit_rows.encode())}, {}, sealed=True),
        "mnist": Subject("mnist", images, {"standardize": True}, sealed=True),
        "faces": Subject("faces", {"autoencoders/newfaces_rot_single.mat": matlab(faces, True)}, {}, sealed=True),
        "curves": Subject("curves", {"autoencoders/digs3pts_1.mat": matlab(curves, False)}, {}),
        "faces_synthetic": Subject(
            "faces_synthetic", {"olivetti/olivettifaces.mat": matlab(olivetti, True)}, {"train": 8, "test": 4}
        ),
        "cifar10": Subject(
            "cifar10", {"cifar10/cifar-10-binary.tar.gz": tiny_data.archive(ten)}, {"standardize": True}, sealed=True
        ),
        "cifar10.npz": Subject("cifar10", {"cifar10/cifar10.npz": arrays_file(np.savez, **small)}, {}, sealed=True),
        "cifar100": Subject(
            "cifar100", {"cifar100/cifar-100-binary.tar.gz": tiny_data.archive(hundred)}, {}, sealed=True
        ),
        "svhn": Subject(
            "svhn", {f"svhn/{part}_32x32.mat": matlab(houses, True) for part in ("train", "test")}, {}, sealed=True
        ),
        "libsvm": Subject("libsvm", {"libsvm/a9a": a9a, "libsvm/a9a.t": a9a}, {"set": "a9a", "standardize": True}),
        "libsvm.bz2": Subject(
            "libsvm",
            {f"libsvm/usps.{end}": bz2.compress(ten_classes) for end in ("bz2", "t.bz2")},
            {"set": "usps"},
            sealed=True,
        ),
        "libsvm.xz": Subject(
            "libsvm",
            {"libsvm/webspam_wc_normalized_unigram.svm.xz": lzma.compress(a9a)},
            {"set": "webspam"},
            sealed=True,
        ),
        "imdb": Subject(
            "imdb",
            {"imdb/aclImdb_v1.tar.gz": tiny_data.archive(reviews)},
            {"vectors": None, "dimension": 3, "length": 4},
            sealed=True,
        ),
        "covid_tweets": Subject("covid_tweets", tweets, {"vectors": None, "dimension": 3, "length": 4}),
        "glove.json": Subject(
            "covid_tweets",
            {"glove/glove-50d-5k.json": stand_in.encode(), **tweets},
            vectors,
            damaged=("glove/glove-50d-5k.json",),
        ),
        "glove.zip": Subject(
            "covid_tweets",
            {"glove/glove.6B.zip": tiny_data.glove(rng, 50), **tweets},
            vectors,
            sealed=True,
            damaged=("glove/glove.6B.zip",),
        ),
        "own vectors": Subject(
            "covid_tweets",
            {"own.vec": lines.encode(), **tweets},
            {"vectors": "own.vec", "dimension": 4},
            damaged=("own.vec",),
        ),
        "sars_cov2": Subject("sars_cov2", scans, {}, sealed=True),
        "npz": Subject("npz", {"own.npz": arrays_file(np.savez, **own)}, {"path": "own.npz"}, sealed=True),
        "npz, compressed": Subject(
            "npz", {"own.npz": arrays_file(np.savez_compressed, **own)}, {"path": "own.npz"}, sealed=True
        ),
    }


SUBJECTS = subjects()


# Damage


def block(rng: random.Random, content: bytes) -> tuple[bytes, bytes, bytes]:
    start = rng.randrange(len(content) + 1)
    end = min(len(content), start + rng.choice((1, 4, 8, 100, 1000)))
    return content[:start], content[start:end], content[end:]


def flipped(rng: random.Random, content: bytes, bits: int) -> bytes:
    changed = bytearray(content)
    for _ in range(bits if content else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def renumbered(rng: random.Random, content: bytes) -> bytes:
    """Another number, or none, in place of one that is written in digits."""
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    if not numbers:
        return content
    number = rng.choice(numbers)
    other = rng.choice(
        (b"nan", b"inf", b"-inf", b"1e39", b"-1", b"0", b"99999999999999999999", b"1000000000", b"x", b"", b"2.5", b"7")
    )
    return content[: number.start()] + other + content[number.end() :]


DAMAGE: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "cut": lambda rng, content: content[: rng.randrange(len(content) + 1)],
    "cut to a head": lambda rng, content: content[: rng.randrange(200)],
    "without its start": lambda rng, content: content[rng.randrange(1, 200) :],
    "a flipped bit": lambda rng, content: flipped(rng, content, 1),
    "a flipped bit in the head": lambda rng, content: flipped(rng, content[:300], 1) + content[300:],
    "flipped bits": lambda rng, content: flipped(rng, content, 8),
    "zeros": lambda rng, content: (lambda a, b, c: a + bytes(len(b)) + c)(*block(rng, content)),
    "ones": lambda rng, content: (lambda a, b, c: a + b"\xff" * len(b) + c)(*block(rng, content)),
    "noise": lambda rng, content: (lambda a, b, c: a + rng.randbytes(len(b)) + c)(*block(rng, content)),
    "without a block": lambda rng, content: (lambda a, b, c: a + c)(*block(rng, content)),
    "a block twice": lambda rng, content: (lambda a, b, c: a + b + b + c)(*block(rng, content)),
    "garbage behind": lambda rng, content: content + rng.randbytes(rng.choice((1, 8, 1000))),
    "another number": renumbered,
    "other numbers": lambda rng, content: renumbered(rng, renumbered(rng, renumbered(rng, content))),
    "empty": lambda rng, content: b"",
    "noise alone": lambda rng, content: rng.randbytes(rng.choice((1, 10, 3000))),
    "zeros alone": lambda rng, content: bytes(rng.choice((1, 20, 128, 3000))),
    "a page": lambda rng, content: b"<!DOCTYPE html>\n<title>404</title>\n" * rng.randrange(1, 40),
    "a pickle": lambda rng, content: pickle.dumps(Trap()),
    "a file of another data set": lambda rng, content: rng.choice(
        list(rng.choice(list(SUBJECTS.values())).files.values())
    ),
}


def inside(name: str, content: bytes, damage: Callable[[bytes], bytes], rng: random.Random) -> bytes:
    """The compressed file again, with damaged contents under right checksums; the file itself if it has no contents."""
    for end, module in ((".gz", gzip), (".bz2", bz2), (".xz", lzma)):
        if name.endswith(end):
            return module.compress(damage(module.decompress(content)))
    if name.endswith((".npz", ".zip")):
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
            chosen = rng.choice(old.namelist())
            for member in old.namelist():
                new.writestr(member, damage(old.read(member)) if member == chosen else old.read(member))
        return stream.getvalue()
    return damage(content)


def cases(subject: Subject, label: str, count: int) -> list[tuple[str, dict[str, bytes], bool]]:
    """(description, files, whether they must give the data of the intact files if they give any)."""
    made = []
    for i in range(count):
        rng = random.Random(f"{label} {i}")
        name, kind = rng.choice(subject.damaged or tuple(subject.files)), list(DAMAGE)[i % len(DAMAGE)]
        within = subject.sealed and bool(i // len(DAMAGE) % 2)

        def damage(content: bytes, kind: str = kind, rng: random.Random = rng) -> bytes:
            return DAMAGE[kind](rng, content)

        content = inside(name, subject.files[name], damage, rng) if within else damage(subject.files[name])
        foreign = kind == "a file of another data set"
        made.append(
            (
                f"case {i}, {kind}{' inside' * within}, {name}",
                {**subject.files, name: content},
                subject.sealed and not within and not foreign,
            )
        )
    return made


# What a load may do


class Hang(BaseException):
    """Raised in a load that takes too long; no handler of errors catches it."""


@contextmanager
def limits():
    """A bound on the memory that the process may allocate from here on, and on the time of each load."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)

    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def outcome(subject: Subject, folder: Path, files: dict[str, bytes], monkeypatch) -> Dataset | str:
    """The data set of these files, or the text of the error."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sobench.data.digits, "FILE", str(folder / "digits.csv.gz"))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return subject.load(folder)
    except SobenchError as error:
        return str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def tensors(data: Dataset) -> list[torch.Tensor]:
    return [t for part in (data.train, data.test, data.validation or ()) for t in part] + (
        [] if data.vectors is None else [data.vectors]
    )


def defects(result: Dataset | str, intact: Dataset, must_be_intact: bool) -> list[str]:
    """What is wrong with an outcome; empty if it is an error of the data, or data that can be used."""
    if isinstance(result, str):
        wrong = {
            "several lines": "\n" in result,
            "no text": not result.strip(),
            "out of memory": "MemoryError" in result,
            "too long": len(result) > 1500,
        }
        return [f"{what}: {result[:200]!r}" for what, is_so in wrong.items() if is_so]
    parts = [result.train, result.test, *([result.validation] if result.validation else [])]
    wrong = {
        "not finite": not all(bool(t.isfinite().all()) for t in tensors(result)),
        "another kind": [t.dtype for t in tensors(result)] != [t.dtype for t in tensors(intact)]
        and result.name != "npz",
        "unequal lengths": any(len(inputs) != len(targets) or not len(inputs) for inputs, targets in parts),
        "unequal shapes": len({inputs.shape[1:] for inputs, _ in parts}) > 1,
        "no labels": result.classes is not None
        and any(int(t.min()) < 0 or int(t.max()) >= result.classes for _, t in parts),
        "other data": must_be_intact and not same(result, intact),
    }
    return [what for what, is_so in wrong.items() if is_so]


def same(one: Dataset, other: Dataset) -> bool:
    pairs = list(zip(tensors(one), tensors(other), strict=True))
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs) and one.classes == other.classes


def check(label: str, count: int, tmp_path: Path, monkeypatch) -> None:
    subject = SUBJECTS[label]
    monkeypatch.setattr(sobench.data.digits, "SAMPLES", 12)
    with limits():
        intact = outcome(subject, tmp_path / "intact", subject.files, monkeypatch)
        assert isinstance(intact, Dataset), intact
        found, loaded = [], 0
        for i, (text, files, must_be_intact) in enumerate(cases(subject, label, count)):
            result = outcome(subject, tmp_path / str(i), files, monkeypatch)
            found += [f"{text}: {defect}" for defect in defects(result, intact, must_be_intact)]
            loaded += isinstance(result, Dataset)
    assert not found, "\n".join(found[:20])
    assert loaded < 0.7 * count, "most of the damage is to be noticed"


@pytest.mark.parametrize("label", SUBJECTS)
def test_damage_is_an_error_of_the_data_or_harmless(label, tmp_path, monkeypatch):
    check(label, CASES, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("label", SUBJECTS)
def test_more_damage(label, tmp_path, monkeypatch):
    check(label, MORE, tmp_path, monkeypatch)


def test_every_loader_of_a_file_is_here():
    own = {entry.name for entry in entry_points(group="sobench.datasets") if entry.value.startswith("sobench.data.")}
    assert {subject.name for subject in SUBJECTS.values()} == own - GENERATED - TEXTS - LIKE_THE_DIGITS


@pytest.mark.parametrize(
    "change", [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n")], ids=["BOM", "CRLF"]
)
@pytest.mark.parametrize("label", ["libsvm", "libsvm.bz2", "libsvm.xz", "covid_tweets", "own vectors", "glove.json"])
def test_a_text_file_may_have_a_byte_order_mark_and_crlf(label, change, tmp_path, monkeypatch):
    subject = SUBJECTS[label]
    monkeypatch.setattr(sobench.data.digits, "SAMPLES", 12)
    rng = random.Random(0)
    changed = {name: inside(name, content, change, rng) for name, content in subject.files.items()}
    with limits():
        intact, other = (
            outcome(subject, tmp_path / folder, files, monkeypatch)
            for folder, files in (("1", subject.files), ("2", changed))
        )
    assert isinstance(other, Dataset), other
    assert same(intact, other)
