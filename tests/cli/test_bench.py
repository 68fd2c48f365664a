"""Benchmarks: the calls that they count are those of the mathematics; a line for everything that they measure."""

import re

import pytest
import torch
from harness import command, directories, rows

from sobench.cli.bench import floor, overhead, products, results, second_order, step
from sobench.config.grid import expand
from sobench.errors import UsageError

SETTINGS = "dataset=digits model=mlp model.widths=[20,10] batch_size=50"
COMMON = [*step.COMMON, *SETTINGS.split()]


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(step, "SETTLED", (2, 2))
    monkeypatch.setattr(step, "ROUND_SECONDS", 0.0)
    monkeypatch.setattr(overhead, "LONG", 0.0)
    monkeypatch.setattr(products, "CALLS_SECONDS", 0.0)
    monkeypatch.setattr(floor, "BURSTS", 2)
    monkeypatch.setattr(products, "SHORT", 1)
    monkeypatch.setattr(products, "LONG", 2)


def shapes(calls):
    """{name of the function: the shapes of the factors of its calls, in order}."""
    found = {}
    for (func, _, leaves), count in calls.counts.items():
        factors = [tuple(leaf[0]) for leaf in leaves if isinstance(leaf, tuple)][-2:]
        found.setdefault(func.overloadpacket.__name__, []).extend([factors] * count)
    return {name: sorted(factors) for name, factors in found.items()}


def test_the_heavy_calls_of_a_step_of_sgd_are_its_matrix_products(short):
    """Of each layer the outputs, the gradient of the weight and that of the inputs, but for the inputs of the model."""
    walker = step.settled(COMMON, step.SGD)
    with floor.HeavyCalls() as calls:
        walker.walk(2)
    layers = [(64, 20), (20, 10), (10, 10)]
    outputs = [[(50, i), (i, o)] for i, o in layers]
    weights, inputs = [[(o, 50), (50, i)] for i, o in layers], [[(50, o), (o, i)] for i, o in layers[1:]]
    assert shapes(calls) == {"addmm": sorted(2 * outputs), "mm": sorted(2 * (weights + inputs))}


def test_convolutions_factorizations_and_products_in_place_are_heavy():
    A, x = torch.eye(3), torch.ones(1, 1, 4, 4)
    with floor.HeavyCalls() as calls:
        torch.linalg.cholesky(A + A)
        torch.cholesky_inverse(A)
        torch.linalg.eigh(A)
        torch.linalg.solve_triangular(A, A, upper=False)
        A.addmm_(A.clone(), A.clone(), alpha=0.5)
        torch.mm(x[0, 0], x[0, 0], out=torch.empty(4, 4))
        torch.nn.functional.conv2d(x, torch.ones(1, 1, 2, 2, requires_grad=True)).sum().backward()
        (A + A).mul_(2.0).exp().sum()  # elementwise work is not in the floor
    assert calls.counts.total() == 8
    measured = calls.floor(2, A.device)
    assert measured.calls == 4 and measured.seconds > 0


def test_calls_of_one_layout_are_one_call_and_those_of_another_are_not():
    A, B = torch.ones(20, 20), torch.ones(20, 20)
    with floor.HeavyCalls() as calls:
        for left, right in ((A, B), (B, A), (A, A), (A, B.T), (A[:10], B), (A.double(), B.double())):
            left @ right
    assert sorted(calls.counts.values()) == [1, 1, 1, 1, 2]


def test_copies_have_the_values_and_the_layout_and_share_memory_as_the_operands_do():
    whole = torch.arange(100.0)
    operands = [whole[21:81].view(6, 10).T, 0.5, whole[33:63], torch.ones(3).expand(2, 3)]
    a, half, b, c = floor.copies(operands)
    assert a.equal(operands[0]) and b.equal(operands[2]) and c.equal(operands[3]) and half == 0.5
    assert (a.stride(), c.stride()) == ((1, 10), (0, 1))
    assert a.storage_offset() % floor.ALIGNMENT == 21 % floor.ALIGNMENT
    b.fill_(-1.0)
    assert (a == -1.0).sum() == 30 and whole.min() == 0


def test_a_floor_is_below_what_it_bounds(short):
    """A small step takes several times as long as its eight products; the factor 3 is for a machine with other work."""
    walker = step.settled(COMMON, step.SGD)
    measured = walker.floor(20)
    assert measured.calls == 8
    assert 0 < measured.seconds < 3 * min(walker.seconds(20) for _ in range(3)) / 20


def test_every_optimizer_and_product_has_a_line(monkeypatch, capsys, short):
    optimizers = {"sgd": step.SGD, "kfac, true": "optimizer=kfac", "kfac, empirical": "optimizer=kfac"}
    monkeypatch.setattr(step, "CASES", {"small": (SETTINGS, optimizers)})
    assert step.step() == 0
    title, *lines, products_title = capsys.readouterr().out.splitlines()[: len(optimizers) + 2]
    assert title.startswith("small: time of a step") and products_title.startswith("small: time of a product")
    found = [
        re.fullmatch(r"  (\w.*?) +\d.* ms over .* ms\); floor ([\d.]+), ([\d.]+) calls, excess (-?\d+) %", line)
        for line in lines
    ]
    assert [match and match[1] for match in found] == list(optimizers)
    step.step(["kfac, e", "ggn"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip().partition("  ")[0] for line in lines if line.startswith("  ")] == [
        "kfac, empirical",
        "ggn product",
    ]


def test_a_name_of_no_row_is_refused_before_anything_is_measured():
    with pytest.raises(UsageError, match=r"^bench step: got kfca, allowed: .*\bkbfgs, .*\bkfac,"):
        step.step(["kfac", "kfca"])


def test_the_rows_of_conjugate_gradients_make_ten_iterations(short):
    _, optimizers = step.CASES["MLP 784-100-100-10, batch 64"]
    rows = [settings for name, settings in optimizers.items() if name.endswith(", 10")]
    assert len(rows) == 3
    for row in rows:
        walker = step.settled(COMMON, row)
        assert walker.trainer.optimizer.diagnostics["cg_iterations"] == 10


@pytest.mark.parametrize("name", products.ROWS)
def test_products_and_iterations_have_a_time(name, short):
    f = step.trainer(COMMON, step.SGD).problem.first_objective()
    assert re.fullmatch(r" *-?\d+\.\d\d  \(.* ms over .* ms\)", products.compare(f, products.ROWS[name]))


def test_every_second_derivative_has_a_line(monkeypatch, capsys):
    monkeypatch.setattr(second_order, "WIDTH", 1)
    monkeypatch.setattr(second_order, "ROUNDS", 1)
    assert second_order.csdd() == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("VGG-11, width 1") and len(lines) == len(second_order.ORACLES)
    assert all(re.search(r" \d+\.\d\d  \(.* ms over .* ms\)$", line) for line in lines)


FEW = {"optimizer": ("adam", "sgd"), "dataset": ("digits",), "model": ("linear",)}


def test_the_runs_that_are_read_are_finished_ones(workplace):
    sweep = results.sweep_overrides(FEW, 2, workplace / "runs")
    assert results.write_runs(expand(sweep), workplace / "runs", 6) == 4
    assert command("run", "-m", *sweep).out == "4 runs: 4 done; nothing to do\n"
    assert command("status").out.splitlines()[-1] == "2 cells, 4 runs: 4 done"
    assert command("verify").code == 0 and {len(rows(path, "eval")) for path in directories()} == {6}


@pytest.mark.slow
def test_a_record_of_many_runs(monkeypatch, capfd, tmp_path):
    """The whole measurement: seven processes. The usual tests read the same runs in this process, see above."""
    monkeypatch.setattr(results, "GROUPS", FEW)
    monkeypatch.setattr(results, "SEEDS", 2)
    monkeypatch.setattr(results, "EVALUATIONS", 6)
    monkeypatch.setenv("SOBENCH_BENCH_DIR", str(tmp_path))
    assert results.results() == 0
    named, written, cold, warm, *compared, status, sweep = capfd.readouterr().out.splitlines()
    assert named.startswith("4 runs composed") and written.startswith("4 of them written, 6 evaluations each")
    assert status.endswith("2 cells, 4 runs: 4 done") and sweep.endswith("4 runs: 4 done; nothing to do")
    parts = r" GB; imports .* s \(.*\), names .* s \(.*\), aggregate .* s \(.*\); a helper had .* GB$"
    assert all(re.search(parts, line) for line in (cold, warm))
    assert [line.partition(" ")[0] for line in compared] == ["compare,"] * 3
    assert all("index.html" in line for line in compared)
    assert ",2," in (tmp_path / "report" / "table.csv").read_text() and (tmp_path / "report" / "figure.pdf").exists()
