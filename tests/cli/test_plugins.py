"""A package with one entry point: in the list, as optimizer=theirs, in reports; a broken one harms no other command."""

import os
import subprocess
import sys

import pytest
import torch
from harness import SMALL, command, directories, directory, result, rows, summary, write_package

from sobench.config import registry, signature
from sobench.errors import UsageError

THEIRS = '''
"""A package of optimizers."""

import torch
from torch.optim.optimizer import required


class SignSgd(torch.optim.Optimizer):
    """Steps by the sign of the gradient."""

    def __init__(self, params, lr: float = 0.01, *, rho=0, betas=(0.9, 0.99), variant="plain", dtype=torch.float32,
                 needed=..., limit=None, nesterov=False, maximize=False, foreach=None, **kwargs):
        assert dtype is torch.float32 and isinstance(betas, tuple) and not kwargs
        super().__init__(params, dict(lr=lr, rho=rho, variant=variant))

    @torch.no_grad()
    def step(self, f):
        loss = f()
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * (p.grad.sign() + group["rho"] * p)
        return loss


class Needy(SignSgd):
    """Cannot be made without a radius."""

    def __init__(self, params, radius, lr=0.1):
        super().__init__(params, lr=lr * radius)


class Marked(SignSgd):
    """Has torch's own mark of a parameter without a default."""

    def __init__(self, params, lr=required, rho: float = 0.5):
        super().__init__(params, lr=lr, rho=rho)


class Refusing(SignSgd):
    def __init__(self, params, lr: float = 0.1):
        if lr > 1:
            raise ValueError(f"lr is {lr}: at most 1")
        super().__init__(params, lr=lr)


def factory(params, lr=0.1):
    return SignSgd(params, lr)
'''
ENTRIES = {
    "signsgd": "theirs.sign:SignSgd",
    "needy": "theirs.sign:Needy",
    "refusing": "theirs.sign:Refusing",
    "factory": "theirs.sign:factory",
}


@pytest.fixture
def theirs(plugins):
    return plugins("their-optimizers", {"theirs/__init__.py": "", "theirs/sign.py": THEIRS}, ENTRIES)


@pytest.fixture
def wide(monkeypatch):
    """A terminal that has room for a whole row of a list."""
    monkeypatch.setenv("COLUMNS", "200")


def test_listed_with_its_origin(workplace, theirs, wide):
    listed = command("list", "optimizers")
    assert listed.code == 0 and not listed.err
    (line,) = [line for line in listed.out.splitlines() if line.startswith("signsgd ")]
    assert "Steps by the sign of the gradient." in line
    assert "their-optimizers 1.2, not imported" in " ".join(line.split())


def test_a_process_of_its_own(workplace, tmp_path):
    """As a user has it: a package on the path, the command, no YAML."""
    site = tmp_path / "elsewhere"
    write_package(site, "their-optimizers", {"theirs/__init__.py": "", "theirs/sign.py": THEIRS}, ENTRIES)
    environment = os.environ | {"PYTHONPATH": str(site)}
    program = [sys.executable, "-c", "from sobench.cli import entry; entry()"]
    words = ["run", *SMALL, "optimizer=signsgd", "optimizer.lr=0.002"]
    done = subprocess.run([*program, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert summary(directory())["status"] == "done" and "signsgd" in directory().parent.name


def test_runs_by_its_name(workplace, theirs):
    assert command("run", *SMALL, "optimizer=signsgd").code == 0
    assert command("run", *SMALL, "optimizer=signsgd", "optimizer.lr=0.01").out.count("already done") == 1
    (path,) = directories()
    assert command("run", *SMALL, "optimizer=signsgd", "optimizer.lr=0.5", "runs=other").code == 0
    assert rows(path)[-1]["train_loss"] != rows(directory(workplace / "other"))[-1]["train_loss"]


def test_does_what_the_same_code_does_by_hand(workplace, theirs):
    from harness import run_with

    from sobench.training.trainer import Trainer

    assert (
        command(
            "run", "threads=1", "model.widths=[4]", "budget.steps=5", "budget.epochs=null", "optimizer=signsgd"
        ).code
        == 0
    )
    problem = Trainer(run_with(optimizer={"name": "sgd", "lr": 0.1})).problem
    for _, f in zip(range(5), (f for _, f in problem.objectives())):
        f()
        with torch.no_grad():
            for p in problem.model.parameters():
                p -= 0.01 * p.grad.sign()
    assert rows(directory(), "eval")[-1]["train_loss"] == pytest.approx(problem.evaluate()["train_loss"], abs=0)


def test_its_configuration_is_its_signature(theirs):
    assert signature.defaults("optimizer", "signsgd") == {
        "name": "signsgd",
        "lr": 0.01,
        "rho": 0,
        "betas": [0.9, 0.99],
        "variant": "plain",
        "limit": None,
        "nesterov": False,
    }
    assert signature.defaults("optimizer", "needy") == {"name": "needy", "radius": "???", "lr": 0.1}
    marked = "theirs.sign:Marked"
    assert signature.defaults("optimizer", marked) == {"name": marked, "lr": "???", "rho": 0.5}


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["optimizer=signsgd", "optimizer.lrr=1"],
            "optimizer.lrr: no such key, allowed: betas, groups, limit, lr, name, nesterov, rho, variant; did you mean",
        ),
        (["optimizer=signsgd", "optimizer.dtype=1"], "optimizer.dtype: no such key"),
        (["optimizer=signsgd", "optimizer.lr=-1"], "optimizer.lr: got -1, allowed: a number above 0"),
        (["optimizer=signsgd", "optimizer.variant=3"], "optimizer.variant: got 3"),
        (["optimizer=signsgd", "optimizer.betas=[0.9]"], "optimizer.betas: got [0.9], allowed: a list of 2"),
        (["optimizer=signsgd", "optimizer.nesterov=1"], "optimizer.nesterov: got 1, allowed: true or false"),
        (["optimizer=needy"], "optimizer.radius: must be given"),
        (["optimizer=theirs.sign:Marked"], "optimizer.lr: must be given"),
        (["optimizer=refusing", "optimizer.lr=2"], "optimizer 'refusing': lr is 2: at most 1"),
        (["optimizer=factory"], "optimizer 'factory' (theirs.sign:factory) is not a torch.optim.Optimizer class"),
        (["optimizer=signsdg"], "did you mean 'signsgd' or"),
    ],
)
def test_settings_that_it_does_not_take(workplace, theirs, words, message):
    refused = command("run", *SMALL, *words)
    assert refused.code == 2 and len(refused.errors) == 1 and message in refused.err
    assert not list(workplace.iterdir())


def test_settings_that_it_takes(workplace, theirs):
    words = ["optimizer.rho=0.5", "optimizer.betas=[0.5,1]", "optimizer.limit=anything", "optimizer.variant=other"]
    assert command("run", *SMALL, "optimizer=signsgd", *words).code == 0
    assert command("run", *SMALL, "optimizer=needy", "optimizer.radius=2").code == 0
    assert command("run", *SMALL, "optimizer=theirs.sign:Marked", "optimizer.lr=0.1").code == 0
    assert len(directories()) == 3


def test_in_a_sweep_with_ours(workplace, theirs):
    done = command("run", "-m", *SMALL, "optimizer=signsgd,sgd", "optimizer.lr=0.1,0.2", "seed=0,1")
    assert done.code == 0 and done.out.splitlines()[-1] == "8 runs: 8 done"
    assert "signsgd" in command("status").out


def test_torchs_others_work_when_registered(workplace, plugins):
    names = ["ASGD", "Adadelta", "Adafactor", "AdamW", "Adamax", "NAdam", "RAdam", "Rprop"]
    plugins("more-of-torch", {}, {name.lower(): f"torch.optim:{name}" for name in names})
    done = command("run", "-m", *SMALL, "optimizer=" + ",".join(name.lower() for name in names))
    assert done.code == 0 and done.out.splitlines()[-1] == "8 runs: 8 done", done


BROKEN = {  # entry, text of its module, what the list says of it, the error of whoever asks for it
    "nomodule": ("nowhere_at_all:Thing", None, "(no module 'nowhere_at_all')", "No module named 'nowhere_at_all'"),
    "noattribute": ("broken_one.b:Thing", "x = 1", "", "has no attribute 'Thing'"),
    "syntax": ("broken_one.c:Thing", "class Thing(", "(c.py cannot be parsed: SyntaxError", "SyntaxError"),
    "raising": ("broken_one.d:Thing", "raise RuntimeError('no GPU')", "", "RuntimeError: no GPU"),
    "needing": ("broken_one.e:Thing", "import not_there_at_all", "", "No module named 'not_there_at_all'"),
    "malformed": ("::", None, "(no module '')", ""),
}


@pytest.fixture
def broken(plugins, theirs):
    modules = {f"{value.split(':')[0].replace('.', '/')}.py": text for value, text, *_ in BROKEN.values() if text}
    plugins(
        "broken-one", {"broken_one/__init__.py": "", **modules}, {name: value for name, (value, *_) in BROKEN.items()}
    )


def test_a_broken_one_is_listed_and_breaks_nothing(workplace, broken, wide):
    listed = command("list", "optimizers")
    assert listed.code == 0 and not listed.err
    text = " ".join(listed.out.split())
    for name, (_, _, about, _) in BROKEN.items():
        assert f"{name} {about}".strip() in text
    assert text.count("broken-one 1.2, not imported") == len(BROKEN)
    assert "signsgd" in listed.out and "hf_gauss_newton" in listed.out
    for words in (["run", *SMALL], ["run", *SMALL, "optimizer=signsgd"], ["status"], ["list", "losses"]):
        fine = command(*words)
        assert fine.code == 0 and not fine.err


@pytest.mark.parametrize("name", BROKEN)
def test_asking_for_a_broken_one(workplace, broken, name):
    refused = command("run", *SMALL, f"optimizer={name}")
    assert refused.code == 2 and len(refused.errors) == 1
    assert f"optimizer {name!r}" in refused.err and "cannot be loaded" in refused.err
    assert BROKEN[name][-1] in refused.err
    assert not list(workplace.iterdir())
    with pytest.raises(UsageError):
        registry.load("optimizers", name)


def test_a_name_of_ours_is_not_taken(workplace, plugins):
    plugins("taking", {"taking.py": THEIRS}, {"sgd": "taking:SignSgd"})
    done = command("run", *SMALL)
    assert done.code == 0
    (line,) = done.errors
    assert line == (
        "sobench: warning: two optimizers are called 'sgd': using torch.optim:SGD, not taking:SignSgd; "
        "for the other: optimizer=taking:SignSgd"
    )
    registry.entries.cache_clear()
    registry.installed.cache_clear()
    listed = command("list", "optimizers")
    assert listed.code == 0 and line in listed.err and "torch.optim.SGD" in listed.out
    made = result(directory())
    assert command("run", *SMALL, "runs=again").code == 0
    assert result(directory(workplace / "again")) == made


@pytest.mark.parametrize("words", [["run", *SMALL, "optimizer=muon"], ["list", "optimizers"], ["show", "muon"]])
def test_a_preset_of_ours_is_not_taken(workplace, plugins, words):
    plugins("taking-a-preset", {"taking.py": THEIRS}, {"muon": "taking:SignSgd"})
    done = command(*words)
    assert done.code == 0 and done.errors == [
        "sobench: warning: two optimizers are called 'muon': using torch.optim:Muon, not taking:SignSgd; "
        "for the other: optimizer=taking:SignSgd"
    ]
    if words[0] == "run":
        assert "_mlp_Muon_" in str(directory())
        assert command("run", *SMALL, "optimizer=taking:SignSgd").code == 0
        assert [path for path in directories() if "_mlp_SignSgd_" in str(path)]


def test_a_data_set_of_theirs_is_listed(workplace, plugins):
    plugins(
        "their-data",
        {"their_data.py": 'def blobs(store):\n    "Two blobs."'},
        {"blobs": "their_data:blobs"},
        "sobench.datasets",
    )
    listed = command("list", "datasets")
    assert listed.code == 0 and "Two blobs." in listed.out and "their-data 1.2" in " ".join(listed.out.split())
    assert "Two blobs." in command("data", "list").out
