"""The counts beside the measured costs of chapters 4 and 5: orders with constants 1, of the measured networks."""

from math import prod

import numpy as np
import pytest

from sobench.report import read

M, T1, T2 = 128, 1, 20
SPACE = {  # table 4.1, of a tensor of shape d
    "tnt": lambda d: sum(n**2 for n in d),
    "shampoo": lambda d: sum(n**2 for n in d),
    "adam": lambda d: prod(d),
    "block_fisher": lambda d: prod(d) ** 2,
}
TIME = {  # beyond SGD's M prod(d)
    "tnt": lambda d: (M / T1 + sum(d)) * prod(d) + sum(n**3 for n in d) / T2,
    "shampoo": lambda d: sum(d) * prod(d) + sum(n**3 for n in d) / T2,
    "adam": lambda d: prod(d),
    "sgd": lambda d: 0,
}
N1, N2, N_HF, OUTPUTS = 60, 30, 20, 10
COSTS = {  # the table of section 5.7, of n parameters and the widths m_l, beyond SGD's N1 n
    "smw_gn": lambda n, m: OUTPUTS * N2 * n + OUTPUTS**2 * N2**2 * sum(m) + OUTPUTS**3 * N2**3,
    "smw_ng": lambda n, m: N2 * n + N2**2 * sum(m) + N2**3,
    "hessian_free": lambda n, m: N_HF * N2 * n,
    "kfac": lambda n, m: sum(l**3 for l in m) + N2 * sum(l**2 for l in m),
    "sgd": lambda n, m: 0,
}


def tensors(w: int) -> list[tuple[int, ...]]:
    """The shapes of the weights and biases of 64-w-w-w-10."""
    return [(w, 64), (w, w), (w, w), (10, w), (w,), (w,), (w,), (10,)]


def total(count, w: int) -> float:
    return sum(count(d) for d in tensors(w))


def exponent(values: dict[int, float]) -> float:
    return float(np.polyfit(np.log(list(values)), np.log(list(values.values())), 1)[0])


def test_the_tensors_are_those_of_the_network():
    from sobench.models.mlp import mlp

    found = [tuple(p.shape) for p in mlp((1, 8, 8), 10, widths=[32] * 3, activation="relu").parameters()]
    assert sorted(found) == sorted(tensors(32))


def test_the_counts_of_memory():
    narrow, wide, growth, *_ = read("tnt/table-4.1").table.columns
    for column, w in ((narrow, 32), (wide, 512)):
        expected = {method: 4 * total(count, w) / total(prod, w) for method, count in SPACE.items()}
        assert column.published == pytest.approx({m: expected[m] for m in column.published}, abs=0.005)
    assert narrow.published.keys() == SPACE.keys() == wide.published.keys() | {"block_fisher"}
    widths = dict.fromkeys(SPACE, (32, 128, 512)) | {"block_fisher": (8, 16, 32)}
    expected = {method: exponent({w: total(count, w) for w in widths[method]}) for method, count in SPACE.items()}
    assert growth.published == pytest.approx(expected, abs=0.005)


def test_the_growth_of_the_counts_of_time():
    growth = read("tnt/table-4.1").table.columns[-1]
    expected = {
        method: exponent({w: total(lambda d, c=count: M * prod(d) + c(d), w) for w in (128, 512)})
        for method, count in TIME.items()
    }
    assert growth.published == pytest.approx(expected, abs=0.005)


def test_the_growth_of_the_counts_of_chapter_5():
    def cost(count, w: int) -> float:
        widths = [64, w, w, OUTPUTS]
        n = sum(before * after + after for before, after in zip(widths, widths[1:]))
        return N1 * n + count(n, widths)

    (growth,) = [c for c in read("smw/table-costs").table.columns if c.growth]
    expected = {method: exponent({w: cost(count, w) for w in (128, 256, 512, 1024)}) for method, count in COSTS.items()}
    assert growth.published == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize("name", ["tnt/table-4.1", "smw/table-costs"])
def test_no_count_is_called_published(name):
    for column in read(name).table.columns:
        assert not column.published or "constants taken as 1" in column.published_as
