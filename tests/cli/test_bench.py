"""Benchmarks: the operations that they count are those of the mathematics; a line for everything that they measure."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sobench.cli.bench import results, second_order, step
from sobench.linalg.kronecker import BLOCK, gram

SETTINGS = "model=mlp model.widths=[20,10] batch_size=50"


@pytest.fixture
def case(tmp_path, monkeypatch):
    monkeypatch.setattr(step, "SETTLED", 2)
    monkeypatch.setattr(step, "ROUNDS", 1)
    return [f"dataset=npz dataset.path={step.mnist_shaped(tmp_path)}", *step.COMMON, SETTINGS]


def test_a_step_of_sgd_multiplies_three_times_a_layer_and_twice_the_first(case):
    layers = [784 * 20, 20 * 10, 10 * 10]
    expected = 2 * 50 * (3 * sum(layers) - layers[0])  # no gradient of the inputs is computed
    assert step._walker(case, step.SGD).operations(4) == 4 * expected


def test_the_counter_sees_what_a_symmetric_product_leaves_out():
    m, n = 8, 4 * BLOCK
    with FlopCounterMode(display=False) as counter:
        gram(torch.ones(m, n), torch.ones(n, n), alpha=0.5, beta=0.5)
    assert counter.get_total_flops() == 2 * m * n * n * (1 + BLOCK / n) / 2


def test_every_optimizer_has_a_line(monkeypatch, capsys):
    optimizers = {"the same": step.SGD, "K-FAC": "optimizer=kfac"}
    monkeypatch.setattr(step, "CASES", {"small": (SETTINGS, 3, optimizers)})
    monkeypatch.setattr(step, "SETTLED", 2)
    monkeypatch.setattr(step, "ROUNDS", 1)
    assert step.step() == 0
    title, same, kfac = capsys.readouterr().out.splitlines()
    assert title.startswith("small") and "multiplications 1.00" in same
    assert float(re.search(r"multiplications ([\d.]+)", kfac)[1]) > 1.3


def test_every_second_derivative_has_a_line(monkeypatch, capsys):
    monkeypatch.setattr(second_order, "WIDTH", 1)
    monkeypatch.setattr(second_order, "ROUNDS", 1)
    assert second_order.csdd() == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("VGG-11, width 1") and len(lines) == len(second_order.ORACLES)
    assert all(re.search(r" \d+\.\d\d  \(.* ms over .* ms\)$", line) for line in lines)


def test_a_record_of_many_runs(monkeypatch, capfd, tmp_path):
    monkeypatch.setattr(results, "GROUPS", {"optimizer": ("sgd",), "dataset": ("digits",), "model": ("linear",)})
    monkeypatch.setattr(results, "SEEDS", 2)
    monkeypatch.setattr(results, "EVALUATIONS", 6)
    monkeypatch.setenv("SOBENCH_BENCH_DIR", str(tmp_path))
    assert results.results() == 0
    named, written, cold, warm, status, sweep = capfd.readouterr().out.splitlines()
    assert named.startswith("2 runs composed") and written.startswith("2 of them written, 6 evaluations each")
    assert status.endswith("1 cell, 2 runs: 2 done") and sweep.endswith("2 runs: 2 done; nothing to do")
    parts = r" GB; imports .* s \(.*\), names .* s \(.*\), aggregate .* s \(.*\); a helper had .* GB$"
    assert all(re.search(parts, line) for line in (cold, warm))
    assert ",2," in (tmp_path / "report" / "table.csv").read_text() and (tmp_path / "report" / "figure.pdf").exists()
