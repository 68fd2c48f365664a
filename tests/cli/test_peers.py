"""The comparison with other packages: its checks see a wrong matrix, and its tables have the figures of the rounds."""

import importlib
import re

import pytest
import torch

from sobench.system.files import CHECKOUT


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which the script sets for its process
    monkeypatch.syspath_prepend(CHECKOUT / "scripts")
    return importlib.import_module("peers")


def test_a_ratio_is_of_neighbours_in_time(peers, monkeypatch):
    """The machine becomes three times slower with every round, and the ratio remains 2."""
    monkeypatch.setattr(peers, "ROUNDS", (3, 3))
    units, times = iter((1.0, 3.0, 9.0)), iter((2.0, 6.0, 18.0))
    entries = [("absent 1.0", "does not run", None), ("present 2.0", "as ours", lambda: next(times))]
    absent, present = peers.compare("method", lambda: next(units), entries)
    assert present == ("method", "present 2.0", "as ours", [2.0, 2.0, 2.0], 6000.0)
    assert absent == ("method", "absent 1.0", "does not run", [], 0.0)


def test_a_table_has_the_median_and_the_range(peers):
    rows = [peers.Row("kfac", "sobench", "", (4.0, 2.0, 2.5), 1.234), peers.Row("kfac", "other 1.0", "does not run")]
    assert peers.table("MLP", rows).splitlines() == [
        "**MLP**",
        "",
        "| method | package | ratio | range | ms | remark |",
        "|---|---|---|---|---|---|",
        "| kfac | sobench | 2.50 | 2.00 to 4.00 | 1.23 |  |",
        "| kfac | other 1.0 | – | – | – | does not run |",
    ]


def test_a_package_that_fails_has_a_reason_and_no_time(peers):
    def fails():
        raise RuntimeError("no such operator\nand more")

    def rejected():
        raise peers.p.Rejected("its product differs")

    assert peers.entry("torch", "", fails) == ("torch", "does not run: RuntimeError: no such operator", None)
    assert peers.entry("torch", "", rejected)[1:] == ("not measured: its product differs", None)


def test_a_factor_is_compared_up_to_scale_and_damping(peers):
    G = torch.randn(5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    A = G @ G.T
    peers.p.check_matrix("factor", 0.1 * A + 3 * torch.eye(5), A)
    signs = torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
    for wrong in (signs @ A @ signs, A.flip(0, 1), A @ A):
        with pytest.raises(peers.p.Rejected, match="factor differs"):
            peers.p.check_matrix("factor", wrong, A)


def test_the_page_shows_the_versions_that_are_installed(peers):
    page = (CHECKOUT / "docs/performance.md").read_text()
    shown = dict(re.findall(r"^\| [^|]+ \| (\S+) (\d\S*) \|", page, re.MULTILINE))
    assert shown and shown.items() <= peers.PINS.items()
