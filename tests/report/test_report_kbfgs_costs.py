"""The counts beside the measured costs of chapters 2 and 3: orders with their constants taken as 1, of the
layers of the measured networks."""

import numpy as np
import pytest

from sobench.report import read

M, P, T = 1000, 100, 20
STORAGE_20 = {  # table 2.1, Total
    "kbfgs20": lambda i, o: i**2 + o**2 + i * o,
    "kbfgs20_l": lambda i, o: i**2 + i * o + P * o,
    "kfac": lambda i, o: i**2 + o**2 + i * o,
    "adam": lambda i, o: i * o,
    "rmsprop": lambda i, o: i * o,
}
TIME_20 = {  # table 2.2: additional pass, curvature, step; SGD's own m d_i d_o is added below
    "sgd": lambda i, o: 0,
    "kbfgs20": lambda i, o: M * i * o + M * i**2 + M * o + o**2 + i**2 * o + o**2 * i,
    "kbfgs20_l": lambda i, o: M * i * o + M * i**2 + M * o + i**2 * o + P * i * o,
    "kfac": lambda i, o: M * i * o + M * i**2 + M * o**2 + (i**3 + o**3) / T + i**2 * o + o**2 * i,
    "adam": lambda i, o: 2 * i * o,
    "rmsprop": lambda i, o: 2 * i * o,
}
BATCH, T1, T2 = 128, 10, 100
STORAGE = {  # table 3.1, Total: a = J |Delta|, I, |T|
    "kbfgs": lambda a, i, t: a**2 + i * a + i**2,
    "kbfgs_l": lambda a, i, t: a**2 + i * a + P * i,
    "kfac": lambda a, i, t: a**2 + i * a + i**2,
    "adam": lambda a, i, t: i * a,
}
TIME = {  # table 3.2
    "sgd": lambda a, i, t: 0,
    "kbfgs": lambda a, i, t: (
        BATCH * i * a * t / T + (BATCH * a * t + a**2 + BATCH * i * t + i**2) / T + i * a**2 + i**2 * a
    ),
    "kbfgs_l": lambda a, i, t: (
        BATCH * i * a * t / T + (BATCH * a * t + a**2 + BATCH * i * t + P * i) / T + i * a**2 + P * i * a
    ),
    "kfac": lambda a, i, t: (
        BATCH * i * a * t / T1 + BATCH * (a**2 + i**2) * t / T1 + (a**3 + i**3) / T2 + i * a**2 + i**2 * a
    ),
    "adam": lambda a, i, t: 2 * i * a,
}


def linear(width: int) -> list[tuple[int, int]]:
    """(d_i, d_o) of the layers of 64-w-w-w-10, the bias an input."""
    return [(65, width), (width + 1, width), (width + 1, width), (width + 1, 10)]


def residual(width: int) -> list[tuple[int, int, int]]:
    """(J |Delta|, I, |T|) of the layers of a ResNet of depth 8 on one channel of 8x8 pixels."""
    c = 16 * width
    convolutions = [
        (1, c, 64),
        (c, c, 64),
        (c, c, 64),
        (c, 2 * c, 16),
        (2 * c, 2 * c, 16),
        (2 * c, 4 * c, 4),
        (4 * c, 4 * c, 4),
    ]
    return [*((9 * before, after, places) for before, after, places in convolutions), (4 * c + 1, 10, 1)]


def total(count, layers) -> float:
    return sum(count(*layer) for layer in layers)


def exponent(count, layers, widths) -> float:
    return float(np.polyfit(np.log(widths), np.log([total(count, layers(width)) for width in widths]), 1)[0])


def test_the_layers_are_those_of_the_networks():
    from torch import nn

    from sobench.models.mlp import mlp
    from sobench.models.resnet import resnet

    found = [m for m in mlp((1, 8, 8), 10, widths=[128] * 3, activation="relu").modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features + 1, m.out_features) for m in found] == linear(128)
    found = [m for m in resnet((1, 8, 8), 10, depth=8, width=2).modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert [(m.weight[0].numel() + (m.bias is not None), len(m.weight)) for m in found] == [
        layer[:2] for layer in residual(2)
    ]


@pytest.mark.parametrize(
    ("name", "counts", "layers", "ends", "widths"),
    [
        ("kbfgs20/table-2.1", STORAGE_20, linear, (128, 1024), (128, 256, 512, 1024)),
        ("kbfgs/table-3.1", STORAGE, residual, (1, 4), (1, 2, 4)),
    ],
)
def test_the_counts_of_storage(name, counts, layers, ends, widths):
    *columns, growth = read(name).table.columns
    for column, width in zip(columns, ends, strict=True):
        parameters = total(lambda a, o, *rest: a * o, layers(width))
        expected = {method: 4 * total(count, layers(width)) / parameters for method, count in counts.items()}
        assert column.published == pytest.approx(expected, abs=0.005)
    assert growth.published == pytest.approx(
        {m: exponent(count, layers, widths) for m, count in counts.items()}, abs=0.005
    )


@pytest.mark.parametrize(
    ("name", "counts", "layers", "pass_", "widths"),
    [
        ("kbfgs20/table-2.2", TIME_20, linear, lambda i, o: M * i * o, (128, 256, 512, 1024)),
        ("kbfgs/table-3.2", TIME, residual, lambda a, i, t: BATCH * i * a * t, (1, 2, 4)),
    ],
)
def test_the_growth_of_the_counts_of_time(name, counts, layers, pass_, widths):
    growth = read(name).table.columns[-1]
    both = {method: lambda *layer, count=count: pass_(*layer) + count(*layer) for method, count in counts.items()}
    assert growth.published == pytest.approx(
        {m: exponent(count, layers, widths) for m, count in both.items()}, abs=0.005
    )


@pytest.mark.parametrize("name", ["kbfgs20/table-2.1", "kbfgs20/table-2.2", "kbfgs/table-3.1", "kbfgs/table-3.2"])
def test_no_count_is_called_published(name):
    for column in read(name).table.columns:
        assert not column.published or "constants taken as 1" in column.published_as
