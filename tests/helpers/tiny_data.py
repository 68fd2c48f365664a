"""A mirror of tiny files in the formats of the real data sets that have a stand-in or no declared checksum."""

from __future__ import annotations

import bz2
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from sobench.data.sources import File, declared

SAMPLES = {"train": 40, "test": 20}


def declare(patch: pytest.MonkeyPatch) -> None:
    """Declare the data sets that `write` writes without the rows, the classes and the checksums of the real ones."""
    for name, source in declared().items():
        if name != "mnist":
            files = {file: File(file) for file in source.files}
            patch.setitem(declared(), name, replace(source, rows=(), balanced=False, files=files))


def write(root: Path) -> Path:
    """Write the mirror `root`, and return it.

    It has cifar10, cifar100, svhn, faces, curves, faces_synthetic (train=60 test=40 are enough), libsvm's a9a, letter,
    pendigits, satimage and usps, imdb and covid_tweets with word vectors of 50 and 100 numbers, and sars_cov2.
    """
    rng = np.random.default_rng(0)
    for folder in (
        "cifar10",
        "cifar100",
        "svhn",
        "autoencoders",
        "olivetti",
        "libsvm",
        "imdb",
        "covid_tweets",
        "glove",
    ):
        (root / folder).mkdir(parents=True)
    for classes in (10, 100):
        np.savez(root / f"cifar{classes}/cifar{classes}.npz", **cifar(rng, classes))
    np.savez(root / "svhn/svhn.npz", **cifar(rng, 10))
    savemat(
        root / "autoencoders/newfaces_rot_single.mat",
        {"newfaces_single": rng.normal(size=(625, 80)).astype(np.float32)},
    )
    savemat(root / "autoencoders/digs3pts_1.mat", {"bdata": rng.random((40, 784)), "bdatatest": rng.random((20, 784))})
    savemat(root / "olivetti/olivettifaces.mat", {"faces": rng.integers(0, 256, (4096, 400), dtype=np.uint8)})
    (root / "libsvm/a9a").write_bytes(svmlight(rng, 70, 5, (-1, 1)))
    (root / "libsvm/a9a.t").write_bytes(svmlight(rng, 20, 4, (-1, 1)))
    for name, classes in (("letter.scale", 26), ("pendigits", 10), ("satimage.scale", 6)):
        (root / "libsvm" / name).write_bytes(svmlight(rng, 120, 6, tuple(range(1, classes + 1))))
        (root / f"libsvm/{name}.t").write_bytes(svmlight(rng, 20, 6, tuple(range(1, min(classes, 7)))))
    for name, samples in (("usps.bz2", 120), ("usps.t.bz2", 20)):
        (root / "libsvm" / name).write_bytes(bz2.compress(svmlight(rng, samples, 6, tuple(range(1, 11)))))
    (root / "imdb/aclImdb_v1.tar.gz").write_bytes(reviews(rng))
    for name, samples in (("train", SAMPLES["train"]), ("valid", 10), ("test", SAMPLES["test"])):
        (root / f"covid_tweets/{name}.tsv").write_text(tweets(rng, samples), "utf-8")
    (root / "glove/glove.6B.zip").write_bytes(glove(rng, 50, 100))
    write_scans(root / "sars_cov2", rng)
    return root


WORDS = ["good", "bad", "film", "plot", "the", "of", "and", "it", "was", "not"]
WORDS += ["n't", "never", "again", "actor", "scene", "end", "very", "dull", "bright"]


def sentence(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, rng.integers(3, 12)))


def archive(members: dict[str, bytes]) -> bytes:
    """The bytes of a .tar.gz of these files, {name: contents}."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as packed:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def reviews(rng: np.random.Generator) -> bytes:
    """An archive like aclImdb_v1.tar.gz, including its files that are not labelled reviews."""
    members = {
        "aclImdb/README": b"",
        "aclImdb/train/unsup/0_0.txt": b"no label",
        "aclImdb/train/labeledBow.feat": b"9 0:1",
    }
    for part, samples in SAMPLES.items():
        for i in range(samples):
            kind, stars = (("pos", 9), ("neg", 2))[i % 2]
            members[f"aclImdb/{part}/{kind}/{i // 2}_{stars}.txt"] = (
                f"{sentence(rng)}.<br /><br />{sentence(rng)}!".encode()
            )
    return archive(members)


def tweets(rng: np.random.Generator, samples: int) -> str:
    rows = [
        f"12{i:04}\t@USER {sentence(rng)} HTTPURL\t{('INFORMATIVE', 'UNINFORMATIVE')[i % 2]}" for i in range(samples)
    ]
    return "\n".join(["Id\tText\tLabel", *rows, ""])


def glove(rng: np.random.Generator, *dimensions: int) -> bytes:
    """An archive like glove.6B.zip: for each dimension a file with vectors of half of WORDS and of a comma."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for dimension in dimensions:
            lines = [
                f"{word} {' '.join(f'{v:.4f}' for v in rng.normal(size=dimension))}\n" for word in (",", *WORDS[::2])
            ]
            archive.writestr(f"glove.6B.{dimension}d.txt", "".join(lines))
    return stream.getvalue()


def write_scans(root: Path, rng: np.random.Generator) -> None:
    """Folders of images like those of SARS-CoV-2 CT: of any size, in colour, grey, or with an alpha channel."""
    for name, files in (("COVID", "Covid ({}).png"), ("non-COVID", "Non-Covid ({}).png")):
        (root / name).mkdir(parents=True)
        for i in range(SAMPLES["train"] // 2):
            shape = (int(rng.integers(20, 50)), int(rng.integers(20, 50)), *[(3,), (4,), ()][i % 3])
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(root / name / files.format(i + 1))


def cifar(rng: np.random.Generator, classes: int) -> dict[str, np.ndarray]:
    """The arrays x uint8 [N, 32, 32, 3] and y int64 [N] of each part."""
    images = {f"x_{part}": rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for part, n in SAMPLES.items()}
    return images | {f"y_{part}": rng.integers(0, classes, n) for part, n in SAMPLES.items()}


def svmlight(rng: np.random.Generator, samples: int, features: int, labels: tuple[int, ...], end: str = "\n") -> bytes:
    """Lines `label index:value ...`: indices from 1, zeros left out, the last feature present, labels in turn."""
    lines = []
    for i in range(samples):
        values = rng.normal(size=features).round(3) * (rng.random(features) < 0.6)
        values[-1] = 0.5
        lines.append(
            " ".join([f"{labels[i % len(labels)]}", *(f"{j + 1}:{v:g}" for j, v in enumerate(values) if v)]) + end
        )
    return "".join(lines).encode()
