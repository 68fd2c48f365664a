"""A mirror of tiny files in the formats of the real data sets, for those whose files have no checksum to hold them to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat

SAMPLES = {"train": 40, "test": 20}


def write(root: Path) -> Path:
    """The mirror `root`: cifar10, cifar100, faces, curves, faces_synthetic (train=60 test=40 will do), libsvm's a9a, webspam."""
    rng = np.random.default_rng(0)
    for folder in ("cifar10", "cifar100", "autoencoders", "olivetti", "libsvm"):
        (root / folder).mkdir(parents=True)
    for classes in (10, 100):
        np.savez(root / f"cifar{classes}/cifar{classes}.npz", **cifar(rng, classes))
    savemat(root / "autoencoders/newfaces_rot_single.mat", {"newfaces_single": rng.normal(size=(625, 80)).astype(np.float32)})
    savemat(root / "autoencoders/digs3pts_1.mat", {"bdata": rng.random((40, 784)), "bdatatest": rng.random((20, 784))})
    savemat(root / "olivetti/olivettifaces.mat", {"faces": rng.integers(0, 256, (4096, 400), dtype=np.uint8)})
    (root / "libsvm/a9a").write_bytes(svmlight(rng, 70, 5, (-1, 1)))
    (root / "libsvm/a9a.t").write_bytes(svmlight(rng, 20, 4, (-1, 1)))
    return root


def cifar(rng: np.random.Generator, classes: int) -> dict[str, np.ndarray]:
    """x uint8 [N, 32, 32, 3] and y int64 [N] of each part."""
    images = {f"x_{part}": rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for part, n in SAMPLES.items()}
    return images | {f"y_{part}": rng.integers(0, classes, n) for part, n in SAMPLES.items()}


def svmlight(rng: np.random.Generator, samples: int, features: int, labels: tuple[int, ...], end: str = "\n") -> bytes:
    """Lines `label index:value ...`, indices from 1, zeros left out, the last feature present, labels in turn."""
    lines = []
    for i in range(samples):
        values = rng.normal(size=features).round(3) * (rng.random(features) < 0.6)
        values[-1] = 0.5
        lines.append(" ".join([f"{labels[i % len(labels)]}", *(f"{j + 1}:{v:g}" for j, v in enumerate(values) if v)]) + end)
    return "".join(lines).encode()
