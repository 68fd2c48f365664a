"""Wrong commands: one line that names the error, exit code 2, nothing written.

The exit code is 1 if something outside the command is wrong.
"""

from pathlib import Path

import numpy as np
import pytest
from harness import SMALL, command, directories, rows, summary

from sobench.system import environment

SETTINGS = [  # the arguments of `sobench run`; part of the line that they must give
    ("optimizer=sdg", "optimizer: got 'sdg'", "did you mean 'sgd'"),
    ("dataset=mnst", "dataset: got 'mnst'", "did you mean 'mnist'"),
    ("model=mpl", "model: got 'mpl'", "did you mean 'mlp'"),
    ("loss=cross_entrop", "loss: got 'cross_entrop'", "did you mean 'cross_entropy'?"),
    ("loss=[a]", "loss: got ['a']", "allowed: binary_cross_entropy"),
    ("loss=null", "loss: got None", "cross_entropy"),
    ("schedule=cosin", "schedule: got 'cosin'", "did you mean 'cosine'?"),
    ("budget=papr", "budget: got 'papr'", "did you mean 'paper'?"),
    ("logger=wnb", "logger: got 'wnb'", "allowed: csv, none, tensorboard, wandb"),
    ("logger=wandb logger.mode=on", "logger.mode: got 'on'", "online, offline or disabled"),
    ("logger=wandb logger.project=a/b", "logger.project: got 'a/b'", "without any of"),
    ("logger=wandb logger.timeout=0", "logger.timeout: got 0", "above 0"),
    ("logger.mode=offline", "logger.mode: no such key", ""),
    ("experiment=practical/table-33", "experiment: got 'practical/table-33'", "did you mean 'practical/table-3'"),
    ("experiment=practical", "experiment: got 'practical'", "did you mean 'practical/"),
    ("experiment=table-33", "experiment: got 'table-33'", ": sobench list experiments)"),
    ("hydra/launcher=nope", "hydra/launcher: got 'nope'", "basic"),
    ("sead=1", "sead: no such key", "did you mean 'seed'"),
    ("+extra=1", "extra: no such key", "allowed: batch_size"),
    ("optimizer.lrr=1", "optimizer.lrr: no such key", "did you mean 'lr'?"),
    ("++optimizer.lrr=1", "optimizer.lrr: no such key", "did you mean 'lr'?"),
    ("optimizer=sgd optimizer.damping=1", "optimizer.damping: no such key", "allowed: dampening, groups, lr, momentum"),
    ("schedule.gamma=0.5", "schedule.gamma: no such key", "allowed: name"),
    ("evaluate.step=5", "evaluate.step: no such key", "did you mean 'steps'?"),
    ("evaluate=5", "evaluate: got 5", "every, steps"),
    ("budgets=5", "budgets: got 5", "cpu"),
    ("+budgets.cpu.epoch=7", "budgets.cpu.epoch: no such key", "did you mean 'epochs'?"),
    ("~optimizer", "optimizer: got None", "sobench list optimizers"),
    ("~optimizer.lr", "optimizer.lr: must be given", ""),
    ("~seed", "seed: must be given", ""),
    ("optimizer=null", "optimizer: got 'null'", "sobench list optimizers"),
    ("dataset=5", "dataset: got '5'", "sobench list datasets"),
    ("dataset.name=[1]", "dataset: got", "sobench list datasets"),
    ("optimizer.name=adam", "optimizer.momentum: no such key", "betas"),
    ("optimizer.lr=abc", "optimizer.lr: got 'abc'", "a number above 0"),
    ("optimizer.lr=-1", "optimizer.lr: got -1", "a number above 0"),
    ("optimizer.lr=0", "optimizer.lr: got 0", "a number above 0"),
    ("optimizer.lr=nan", "optimizer.lr: got nan", "a number above 0"),
    ("optimizer.lr=inf", "optimizer.lr: got inf", "a number above 0"),
    ("optimizer.lr=null", "optimizer.lr: got None", "a number above 0"),
    ("optimizer.lr={a:1}", "optimizer.lr: got {'a': 1}", "a number above 0"),
    ("optimizer.lr=true", "optimizer.lr: got True", "a number above 0"),
    ("optimizer.momentum=1", "optimizer.momentum: got 1", "[0, 1)"),
    ("optimizer.nesterov=1", "optimizer.nesterov: got 1", "true or false"),
    ("optimizer.nesterov=true", "'sgd'", "Nesterov momentum requires"),
    ("optimizer=adam optimizer.betas=[0.9]", "optimizer.betas: got [0.9]", "a list of 2"),
    ("optimizer=adam optimizer.betas=[0.9,2]", "'adam'", "beta parameter"),
    ("optimizer=hf_newton optimizer.cg_iterations=0", "optimizer.cg_iterations: got 0", "at least 1"),
    ("optimizer=kfac optimizer.split=x", "optimizer.split: got 'x'", "allowed: balanced or equal"),
    ("optimizer=kbfgs optimizer.damping=0", "optimizer.damping: got 0", "allowed: a number above 0"),
    ("optimizer=adahessian optimizer.betas=[0.9,2]", "optimizer.betas: got [0.9, 2]", "two numbers in [0, 1)"),
    ("optimizer=hf_newton optimizer.damping=-1", "optimizer.damping: got -1", "at least 0"),
    (
        "optimizer=lbfgs optimizer.line_search_fn=wolfe",
        "optimizer.line_search_fn: got 'wolfe'",
        "strong_wolfe, or null",
    ),
    ("batch_size=0", "batch_size: got 0", "at least 1"),
    ("batch_size=-3", "batch_size: got -3", "at least 1"),
    ("batch_size=2.5", "batch_size: got 2.5", "a whole number"),
    ("batch_size=100000", "batch_size: got 100000", "at most 1437"),
    ("drop_last=yes", "drop_last: got 'yes'", "true or false"),
    ("seed=-1", "seed: got -1", "a whole number"),
    ("seed=1.5", "seed: got 1.5", "a whole number"),
    ("seed=99999999999999999999999", "seed: got 99999999999999999999999", "2**63"),
    ("seed=", "seed: got ''", "a whole number"),
    ("budget.steps=0", "budget.steps: got 0", "at least 1, or null"),
    ("budget.epochs=0", "budget.epochs: got 0", "above 0"),
    ("budget.seconds=-1", "budget.seconds: got -1", "above 0"),
    ("budget.epochs=null", "budget: 'default' sets no limit", "budget.steps"),
    ("budget=paper", "budget: 'paper' sets no limit", "budget.steps"),
    ("schedule=cosine budget.epochs=null budget.steps=3", "schedule.epochs: got None", "above 0"),
    ("schedule=step schedule.gamma=0", "schedule.gamma: got 0", "above 0"),
    ("schedule=step schedule.period=0", "schedule.period: got 0", "at least 1"),
    ("l2=-1", "l2: got -1", "at least 0"),
    ("dtype=float16", "dtype: got 'float16'", "float32 or float64"),
    ("device=tpu", "device: got 'tpu'", "cuda:N"),
    ("evaluate.every=0", "evaluate.every: got 0", "at least 1"),
    ("log.every=0", "log.every: got 0", "at least 1"),
    ("threads=0", "threads: got 0", "at least 1"),
    ("threads=999", "threads: got 999, this machine has", "allowed: 1 to "),
    ("gpu.per_run=0", "gpu.per_run: got 0", "above 0 and at most 1"),
    ("gpu.per_run=4", "gpu.per_run: got 4", "above 0 and at most 1"),
    ("isolate=maybe", "isolate: got 'maybe'", "auto, true or false"),
    ("slots=''", "slots: got ''", "the path of a folder, or null"),
    ("checkpoint.seconds=-1", "checkpoint.seconds: got -1", "at least 0"),
    ("progress=2", "progress: got 2", "true or false"),
    ("model.widths=5", "model.widths: got 5", "a list of whole numbers"),
    ("model.widths=[a]", "model.widths: got ['a']", "a list of whole numbers"),
    ("model.widths=[0]", "model.widths: got [0]", "at least 1"),
    ("model.activation=rely", "model.activation: got 'rely'", "relu, tanh"),
    ("model=autoencoder loss=cross_entropy", "loss: got 'cross_entropy'", "squared_error"),
    ("runs=''", "runs: got ''", "the path of a folder"),
    ("reports=null", "reports: got None", "the path of a folder"),
    ("data.mirror=5", "data.mirror: got 5", "the path of a folder"),
    ("data.mirror=/no/such/folder", "data.mirror (SOBENCH_DATA): /no/such/folder", "not a folder"),
    ("seed=${nothing}", "seed:", "nothing"),
    ("seed=0,1", "seed=0,1", "-m for a sweep"),
    ("seed=range(3)", "seed=range(3)", "-m for a sweep"),
    ("optimizer=sgd,adam optimizer.lr=1", "optimizer=sgd,adam", "-m for a sweep"),
    ("seed=${oc.env:HOME}", "seed: got ${oc.env:HOME}, allowed:", "a whole number"),
    ("model.widths=[${oc.env:HOME}]", "model.widths: got ['${oc.env:HOME}']", "a list of whole numbers"),
    ("optimizer={a:1}", "optimizer.a: no such key", "allowed: dampening, groups, lr"),
    ("schedule={a:{b:1}}", "schedule.a: no such key", "allowed: name"),
    ("--package optimizer", "--package optimizer: it selects what --cfg prints", "--cfg job --package optimizer"),
    ("-p optimizer seed=1", "--package optimizer: ", "--cfg job"),
    ("lr=0.1", "lr: no such key", "did you mean optimizer.lr=0.1?"),
    ("optimizer=hf_newton damping=1", "damping: no such key", "did you mean optimizer.damping=1?"),
    ("epochs=3", "epochs: no such key", "did you mean budget.epochs=3?"),
    ("experiment=demo/digits epochs=3", "epochs: no such key", "did you mean budget.epochs=3?"),
    ("epoch=3", "epoch: no such key", "did you mean budget.epochs=3"),
    ("optimizer.LR=1", "optimizer.LR: no such key", "did you mean optimizer.lr=1?"),
    ("model.lr=1", "model.lr: no such key", "did you mean optimizer.lr=1?"),
    ("optimizer=adam optimizer=sgd", "optimizer: given twice, as adam and sgd", "-m optimizer=adam,sgd"),
    ("optimizer.lr=1 seed=0 optimizer.lr=2", "optimizer.lr: given twice", "-m optimizer.lr=1,2"),
    ("seed=0 seed=0", "seed: given twice", "allowed: seed=0 once"),
    ("optimizer=[adam,sgd]", "optimizer: got [adam,sgd]", "-m optimizer=adam,sgd"),
    ("--optimizer kfac", "--optimizer kfac: not an option", "allowed: optimizer=kfac"),
    ("--lr=0.1", "--lr=0.1: not an option", "allowed: optimizer.lr=0.1"),
    ("--experiment demo/digits", "--experiment demo/digits: not an option", "allowed: experiment=demo/digits"),
    ("optimizer kfac", "optimizer: not a setting", "allowed: optimizer=kfac"),
    ("kfac", "kfac: not a setting", "did you mean optimizer=kfac?"),
    ("demo/digits", "demo/digits: not a setting", "did you mean experiment=demo/digits?"),
    ("optimizer==kfac", "optimizer==kfac: got two equals signs", "allowed: optimizer=kfac"),
    ("seed=0-4", "seed: got '0-4'", "-m 'seed=range(0,5)'"),
    ("seed=0..4", "seed: got '0..4'", "-m 'seed=range(0,5)'"),
    ("-m seed=0, 1", "seed=0,: not a setting", "-m seed=0,1"),
    ("budget=3", "budget: got '3'", "a number: budget.epochs=3, budget.steps=3 or budget.seconds=3"),
    ("dataset=npz dataset.path=my file.npz", "file.npz: not a setting", "'dataset.path=\"my file.npz\"'"),
    ("dataset=npz dataset.path=a,b.npz", "several values", "'dataset.path=\"a,b.npz\"'"),
    ("dataset=npz dataset.path=a(1).npz", "not a setting", "'dataset.path=\"a(1).npz\"'"),
    ("dataset=npz dataset.path=a=b.npz", "not a setting", "'dataset.path=\"a=b.npz\"'"),
    (
        "-m logger=csv,tensorboard",
        "logger=csv,tensorboard: a sweep over what changes no result",
        "logger=[csv,tensorboard]",
    ),
    ("-m threads=1,2", "threads=1,2: a sweep over what changes no result", "allowed: one value"),
    ("-m runs=a,b", "runs=a,b: a sweep over what changes no result", "allowed: one value"),
    ("logger=[csv,wnb]", "logger: got 'wnb'", "allowed: csv, none, tensorboard, wandb"),
    ("logger=[csv,none] logger.mode=offline", "logger.mode: no such key", ""),
    ("0 1", "0: not a setting", "KEY=VALUE"),
    ("optimizer", "optimizer: not a setting", "KEY=VALUE"),
    ("=5", "=5", "KEY=VALUE"),
    ("optimizer.lr=(1", "optimizer.lr=(1: not a setting", "KEY=VALUE"),
    ("-m optimizer.lr=interval(0,1)", "optimizer.lr=interval(0,1)", "a list of values"),
    ("-m experiment=demo/digits optimizer=rmsprop", "optimizer: got 'rmsprop'", "allowed in this experiment: adam"),
    ("optimizer=newton model.widths=[10000,10000]", "P = 100,760,010", "allowed: at most"),
]


def refused(result, code: int, *parts: str) -> None:
    """One line, the exit code, nothing written."""
    assert result.code == code, result
    (line,) = result.errors
    assert line.startswith("sobench: ")
    for part in parts:
        assert part in line
    assert not result.out
    assert not list(Path().iterdir())


@pytest.mark.parametrize("words, names, allowed", SETTINGS, ids=[case[0] for case in SETTINGS])
def test_setting_is_refused(workplace, words, names, allowed):
    refused(command("run", *words.split()), 2, names, allowed)


@pytest.mark.parametrize("name", ["cuda", "cuda:3"])
def test_device_that_is_not_there(workplace, monkeypatch, name):
    monkeypatch.setattr(environment.torch.cuda, "device_count", lambda: 0)
    refused(command("run", f"device={name}"), 2, f"device: got '{name}'", "allowed: cpu")


@pytest.mark.parametrize(
    "words",
    [
        ["status", "nothing/here"],
        ["report", "nothing/here"],
        ["reproduce", "nothing/here"],
        ["check", "sdg"],
        ["status", "demo/digits", "seed"],
        ["report", "demo/digits", "seed=-1"],
        ["data", "verify", "mnst"],
        ["status", "demo/digits", "seed=0", "seed=1"],
        ["status", "demo/digits", "--optimizer", "sgd"],
    ],
    ids=" ".join,
)
def test_other_commands(workplace, words):
    refused(command(*words), 2)


@pytest.mark.parametrize(
    "words", [[], ["frob"], ["list"], ["list", "optimiser"], ["data"], ["run", "--frob"]], ids=" ".join
)
def test_usage(workplace, words):
    result = command(*words)
    assert result.code == 2 and "usage: " in result.err and "Traceback" not in result.err
    assert not list(workplace.iterdir())


def test_a_bad_value_stops_a_sweep_before_it_starts(workplace):
    refused(command("run", "-m", *SMALL, "optimizer=sgd,sdg"), 2, "optimizer: got 'sdg'")
    refused(command("run", "-m", *SMALL, "optimizer.lr=0.1,-0.1"), 2, "optimizer.lr: got -0.1")
    refused(
        command("run", "-m", *SMALL, "optimizer=adam,rmsprop", "optimizer.alpha=0.9"), 2, "optimizer.alpha: no such key"
    )
    refused(command("run", "-m", *SMALL, "seed=0,-1"), 2, "seed: got -1")


def test_a_run_that_cannot_start_does_not_stop_the_others(workplace):
    result = command("run", "-m", *SMALL, "batch_size=64,5000", "seed=0,1")
    assert result.code == 1
    assert [line.startswith("sobench: batch_size: got 5000") for line in result.errors] == [True, True]
    assert sorted(summary(path)["status"] for path in directories()) == ["done", "done", "failed", "failed"]
    assert result.out.splitlines()[-1] in ("4 runs: 2 done, 2 failed", "4 runs: 2 failed, 2 done")
    assert "batch_size: got 5000" in command("status").out


@pytest.mark.parametrize("runs", ["/dev/null/runs", "file"])
def test_a_folder_that_cannot_be_written(workplace, runs):
    (workplace / "file").write_text("")
    result = command("run", *SMALL, f"runs={runs}")
    assert result.code == 1 and len(result.errors) == 1 and result.errors[0].startswith("sobench: runs: cannot write ")
    assert [path.name for path in workplace.iterdir()] == ["file"]


def test_a_read_only_folder(workplace, monkeypatch):
    """As a user who is not root finds it."""
    true = Path.mkdir

    def mkdir(path, *args, **kwargs):
        if path.parts[:1] == ("runs",):
            raise PermissionError(13, "Permission denied", str(path))
        true(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    refused(command("run", *SMALL), 1, "runs: cannot write runs/", "Permission denied")


ARRAYS = dict(
    x_train=np.zeros((8, 3), "f4"), y_train=np.arange(8) % 2, x_test=np.zeros((4, 3), "f4"), y_test=np.arange(4) % 2
)
NPZ = [
    (dict(x_train=None), "x_train"),
    (dict(x_train=np.full((8, 3), np.nan)), "not finite"),
    (dict(x_train=np.zeros((7, 3))), "7 inputs but 8 targets"),
    (dict(x_test=np.zeros((4, 2))), "must be equal"),
    (dict(y_train=np.arange(8) % 2 - 1), "labels are 0 to classes - 1"),
    (dict(y_train=np.array(["a"] * 8)), "y_train"),
    (dict(x_train=np.array([object()] * 8)), "Python objects"),
    (dict(y_train=np.ones(8), y_test=np.ones(4)), "loss: got 'cross_entropy', the targets here are real numbers"),
]


@pytest.mark.parametrize("change, message", NPZ, ids=[message for _, message in NPZ])
def test_arrays(workplace, tmp_path, change, message):
    file = tmp_path / "arrays.npz"
    np.savez(file, **{key: value for key, value in (ARRAYS | change).items() if value is not None})
    refused(command("run", *SMALL, "batch_size=4", "dataset=npz", f"dataset.path={file}"), 2, message)


def test_arrays_that_are_not_there(workplace, tmp_path):
    refused(command("run", "dataset=npz"), 2, "dataset.path: must be given")
    refused(command("run", "dataset=npz", "dataset.path=/no/file.npz"), 2, "dataset.path: /no/file.npz is not there")
    (tmp_path / "text.npz").write_text("not an archive")
    refused(command("run", "dataset=npz", f"dataset.path={tmp_path}/text.npz"), 2, "dataset.path", "damaged")


def test_a_download_that_cannot_be_had(workplace, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    result = command("run", "dataset=mnist", *SMALL)
    assert result.code == 1 and len(result.errors) == 1 and not list(workplace.iterdir())
    assert "train-images-idx3-ubyte.gz" in result.err and "manual download: put it in" in result.err


def test_all_data_that_is_missing_is_said_before_anything_is_run(workplace, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    result = command("run", "-m", *SMALL, "dataset=mnist,digits,curves,sars_cov2", "seed=0,1")
    first, *each = result.errors
    assert result.code == 1 and not list(workplace.iterdir())
    assert first == "sobench: the data of 6 of 8 runs cannot be had, and nothing was run; without it: dataset=digits"
    assert [line.split()[0] for line in each] == ["curves:", "mnist:", "sars_cov2:"]
    assert all("manual download: put" in line for line in each) and "sobench data fetch mnist" in each[1]
    result = command("run", "-m", *SMALL, "dataset=mnist,digits")
    assert result.code == 1 and len(result.errors) == 1 and result.err.endswith("; without it: dataset=digits\n")


def _no_network(url, timeout):
    raise OSError("no network")


SAMPLING = """
import torch

class Sampling(torch.optim.SGD):
    "Asks for sampled labels."
    requires = {"closure", "sampled"}

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)

class Asking(Sampling):
    "Asks for what there is not."
    requires = {"oracle"}
"""


def test_an_optimizer_that_the_problem_cannot_serve(workplace, plugins):
    plugins("sampling", {"sampling.py": SAMPLING}, {"sampling": "sampling:Sampling", "asking": "sampling:Asking"})
    refused(
        command("run", "optimizer=sampling", "loss=squared_hinge", *SMALL),
        2,
        "loss=squared_hinge",
        "loss=binary_cross_entropy",
    )
    refused(command("run", "optimizer=asking", *SMALL), 2, "requires oracle", "allowed: accumulate")


def test_a_sweep_records_what_cannot_be_served_and_goes_on(workplace, plugins):
    plugins("sampling", {"sampling.py": SAMPLING}, {"sampling": "sampling:Sampling"})
    result = command("run", "-m", *SMALL, "optimizer=sampling,sgd", "loss=squared_hinge", "seed=0,1")
    assert result.code == 0 and not result.err
    assert result.out.splitlines()[-1] in ("4 runs: 2 skipped, 2 done", "4 runs: 2 done, 2 skipped")
    found = {
        path.parent.name.split("_")[2]: (summary(path)["status"], summary(path)["reason"]) for path in directories()
    }
    assert found["sgd"] == ("done", None)
    assert found["sampling"][0] == "skipped" and "no predictive distribution" in found["sampling"][1]
    assert "skipped 2" in command("status").out


def test_a_sweep_records_a_model_too_large_for_a_dense_matrix(workplace, monkeypatch):
    monkeypatch.setattr(environment, "available_memory", lambda where: 3 * 4 * 400**2)
    result = command("run", "-m", "threads=1", "budget=smoke", "optimizer=newton,sgd", "model.widths=[4],[10]")
    assert result.code == 0
    found = {(path.parent.name.split("_")[2], summary(path)["status"]) for path in directories()}
    assert len(directories()) == 4 and found == {("newton", "done"), ("newton", "skipped"), ("sgd", "done")}


def test_nothing_is_trained_on_real_targets_by_mistake(workplace, tmp_path):
    """The same arrays can be used with a loss that takes real values."""
    np.savez(tmp_path / "real.npz", **ARRAYS | dict(y_train=np.ones(8), y_test=np.ones(4)))
    result = command(
        "run", *SMALL, "batch_size=4", "loss=squared_error", "dataset=npz", f"dataset.path={tmp_path}/real.npz"
    )
    assert result.code == 0
    assert {"train_mse", "test_mse"} <= rows(directories()[0], "eval")[0].keys()
