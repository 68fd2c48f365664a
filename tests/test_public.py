"""The public names of every package, written out: a renamed or removed name has to be changed here too."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

PUBLIC = {
    "sobench": {"Objective", "compare", "load_optimizer", "losses", "results", "run", "summarize"},
    "sobench.errors": {"Failure", "SobenchError", "Unsupported", "UsageError", "described", "one_line"},
    "sobench.linalg": {"CGResult", "LinearOperator", "Solution", "SupportsMatmul", "cg", "cgls", "solve_symmetric"},
    "sobench.losses": {
        "BinaryCrossEntropy",
        "CrossEntropy",
        "Loss",
        "Separable",
        "SquaredError",
        "SquaredHinge",
    },
    "sobench.objective": {
        "Batch",
        "LayerRecord",
        "Objective",
        "ParameterSpace",
        "Partition",
        "complex_hessian",
        "make_partition",
    },
    "sobench.objective.layers": {
        "LayerMatrices",
        "LayerRecord",
        "LayerRows",
        "grad_factor",
        "input_action",
        "input_factor",
        "inputs",
        "locations",
        "mean_input",
        "output_grads",
        "outputs",
        "patches",
        "recorded_inputs",
        "recorded_output_grads",
        "recorded_outputs",
        "recording",
        "sample_grads",
        "to_outputs",
        "unrecorded",
        "weight_gradient_",
        "with_parameters",
    },
    "sobench.optim.base": {"SecondOrderOptimizer"},
}
WITHOUT_ALL = {"sobench.errors", "sobench.losses", "sobench.optim.base"}


@pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package in PUBLIC for name in sorted(PUBLIC[package])]
)
def test_every_public_name_can_be_imported(package, name):
    assert getattr(import_module(package), name) is not None


@pytest.mark.parametrize("package", sorted(PUBLIC.keys() - WITHOUT_ALL))
def test_all_has_exactly_the_public_names(package):
    module = import_module(package)
    assert len(module.__all__) == len(set(module.__all__)) and set(module.__all__) == PUBLIC[package]
    assert set(module.__all__) <= set(dir(module))


@pytest.mark.parametrize("package", ["sobench", "sobench.objective"])
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        _ = import_module(package).nothing


@pytest.mark.parametrize("package", ["sobench", "sobench.objective", "sobench.errors"])
def test_importing_the_package_imports_no_torch(package):
    code = f"import sys, {package}; dir({package}); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "False\n", "")


def test_names_are_imported_at_their_first_use():
    code = (
        "import sys, sobench; sobench.losses.CrossEntropy; print(sobench.Objective.__module__, 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (0, "sobench.objective.objective True\n"), run.stderr
