"""Optimizer classes of other packages: right, refused in one line, or too slow to compile; none is silently wrong.

The outcomes of all are docs/optimizers-of-others.md, which `make support` writes.
"""

import re
import sys

import other_packages
import pytest
import torch
from harness import SMALL, command
from torch.utils.flop_counter import FlopCounterMode

from sobench.config.files import group_defaults

HANDFUL = {
    "torch.optim:NAdam": "right",
    "torch.optim:Muon": "refused",
    "pytorch_optimizer:SOAP": "right",
    "pytorch_optimizer:AdaHessian": "right",
    "pytorch_optimizer:Kron": "right",
    "pytorch_optimizer:LOMO": "refused",
    "pytorch_optimizer:SCION": "refused",
    "schedulefree:AdamWScheduleFree": "right",
    "timm.optim:Adahessian": "right",
    "timm.optim:Muon": "right",
    "timm.optim:SGDP": "right",
    "prodigyopt:Prodigy": "right",
    "dadaptation:DAdaptAdam": "right",
}


@pytest.mark.parametrize("path", HANDFUL)
@pytest.mark.filterwarnings("ignore")  # of those packages
def test_a_handful(path):
    pytest.importorskip(path.partition(":")[0])
    found = other_packages.outcome(path)
    assert found.word == HANDFUL[path] and "\n" not in found.reason, found


@pytest.mark.parametrize("name", ["soap", "schedule_free", "psgd_kron", "splus", "sophia"])
@pytest.mark.filterwarnings("ignore")
def test_a_baseline_is_its_own_loop_by_hand(name):
    path = group_defaults("optimizer", name)["name"]
    pytest.importorskip(path.partition(":")[0])
    found = other_packages.outcome(path, name)
    assert found.word == "right", found
    assert "optimizer.lr" in command("show", name).out


@pytest.mark.filterwarnings("ignore")
def test_psgd_kron_forms_no_kronecker_product():
    """That of the two factors of an n x n matrix has n^4 numbers; products of n x n matrices take 2 n^3 operations."""
    pytest.importorskip("opt_einsum")
    kron, n = pytest.importorskip("pytorch_optimizer").Kron, 32
    p = torch.nn.Parameter(torch.ones(n, n))
    p.grad = torch.ones(n, n)
    with FlopCounterMode(display=False) as counter:
        kron([p]).step()
    assert n**3 < counter.get_total_flops() < 20 * 2 * n**3


def test_a_missing_package_is_one_line(workplace, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    done = command("run", *SMALL, "optimizer=soap")
    (line,) = done.errors
    assert done.code == 2 and line.endswith("allowed: pip install 'sobench[baselines]'")


@pytest.mark.slow
def test_none_is_silently_wrong(request):
    paths = [path for package in other_packages.PACKAGES for path in other_packages.classes(package)]
    found = list(other_packages.outcomes(paths))
    assert [one.path for one in found] == paths and not [one for one in found if one.word == "wrong"]
    assert not [one for one in found if "\n" in one.reason]
    if request.config.getoption("--write-support"):
        other_packages.PAGE.write_text(other_packages.render(found))
    recorded = re.findall(r"^\| `(.+?)` \| (.+?) \|", other_packages.PAGE.read_text(), re.M)
    installed = {package for package in other_packages.PACKAGES if other_packages.classes(package)}
    expected = [row for row in recorded if row[0].partition(":")[0].startswith(tuple(installed))]
    assert [(one.path, one.word) for one in found] == expected, "the page is out of date: make support"


@pytest.mark.slow
def test_the_page_has_at_least_sixty_classes():
    assert len(re.findall(r"^\| `", other_packages.PAGE.read_text(), re.M)) >= 60
