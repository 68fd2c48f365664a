"""Every file of conf/ is composed and run for two steps."""

import os
from pathlib import Path

import numpy as np
import pytest
import tiny_data
import yaml
from harness import command, directories, summary

from sobench.config import files, signature
from sobench.config.grid import expand

CONF = files.conf_dir()
MIRROR = os.environ.get("SOBENCH_DATA")
NEEDS_DATA = {"mnist"}
SKIPPED_GROUPS = {
    "tuned": "in test_tuning.py",
    "experiment": "in test_experiments.py",
    "report": "described in tests/report",
    "hydra": "part of every run here",
    "parity": "in test_parity.py",
    "suite": "in test_suites.py",
}


def members(group: str) -> list[str]:
    return sorted(file.relative_to(CONF / group).with_suffix("").as_posix() for file in (CONF / group).rglob("*.yaml"))


def mirror() -> str:
    """Where the real data are; the test is skipped without."""
    if not MIRROR:
        pytest.skip("SOBENCH_DATA names no folder with the real data")
    return f"data.mirror={Path(MIRROR).absolute()}"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    """The setting of a mirror of tiny files."""
    return f"data.mirror={tiny_data.write(tmp_path_factory.mktemp('data') / 'mirror')}"


def check(*words: str, steps: int = 2) -> None:
    done = command("run", "threads=1", "log.every=1", *words)
    assert done.code == 0 and not done.err, done
    found = [(summary(path)["status"], summary(path)["steps"]) for path in directories()]
    assert found and set(found) == {("done", steps)}


def test_every_group_is_run_here():
    groups = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert groups == {*files.GROUPS, *SKIPPED_GROUPS}


UNLABELLED = ["model.target=input", "loss=squared_error"]
TEXT = ["model=lstm", "model.hidden=4", "dataset.length=5"]
CHARACTERS = ["model=gpt", "model.width=4", "model.depth=1", "dataset.length=4"]
DATASET_WORDS = {
    "imdb": TEXT,
    "covid_tweets": TEXT,
    "pydoc": CHARACTERS,
    "text": CHARACTERS,
    "cifar10": ["dataset.augment=true"],
    "libsvm": ["dataset.set=a9a"],
    "diabetes": ["loss=squared_error"],
    "poisson": ["model=pinn"],
    "faces": UNLABELLED,
    "curves": UNLABELLED,
    "curves_synthetic": [*UNLABELLED, "dataset.train=50", "dataset.test=20"],
    "faces_synthetic": [*UNLABELLED, "dataset.train=50", "dataset.test=20"],
}


@pytest.mark.parametrize("name", members("dataset"))
def test_dataset(workplace, tiny, tmp_path, monkeypatch, name):
    """On the real MNIST, on files of the same format that are written here for the others."""
    tiny_data.declare(monkeypatch)
    words = DATASET_WORDS.get(name, [])
    if name == "npz":
        x, y = np.random.default_rng(0).normal(size=(70, 3)), np.arange(70) % 2
        np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        words = [f"dataset.path={tmp_path}/own.npz"]
    elif name == "text":
        (tmp_path / "own.txt").write_text("Plain English. " * 100)
        words = [*words, f"dataset.path={tmp_path}/own.txt"]
    place = mirror() if name in NEEDS_DATA else tiny
    model = [] if "model=lstm" in words or "model=gpt" in words else ["model.widths=[4]"]
    check(f"dataset={name}", "budget=smoke", "batch_size=20", place, *words, *model)


MODEL_DATA = {
    **dict.fromkeys(("vgg", "vgg16", "vgg19", "csfd_vgg11", "vgg11_prime", "lenet"), "cifar10"),
    **dict.fromkeys(("resnet", "resnet18", "resnet32", "resnet32_4"), "cifar10"),
    "lstm": "covid_tweets",
    "gpt": "pydoc",
    "pinn": "poisson",
}


PRESETS = [name for name in members("model") if files.group_defaults("model", name)["name"] != name]
"""Files that give another model its settings."""


@pytest.mark.parametrize("name", PRESETS)
def test_preset_of_a_model(name):
    data = [f"dataset={MODEL_DATA[name]}"] if name in MODEL_DATA else []
    (run,) = expand([f"model={name}", *data])
    assert run.config["model"] == files.group_defaults("model", name)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in PRESETS else []) for name in members("model")]
)
def test_model(workplace, tiny, monkeypatch, name):
    """On the digits, or on a few samples of what the model takes: images of 32x32 pixels, texts.

    Presets of a model take seconds: the usual tests compose and check them, see test_preset_of_a_model.
    """
    tiny_data.declare(monkeypatch)
    data = [f"dataset={MODEL_DATA[name]}", tiny] if name in MODEL_DATA else []
    check(f"model={name}", "budget=smoke", "budget.samples=100", "batch_size=4", *data)


@pytest.mark.slow
@pytest.mark.parametrize("name", members("optimizer"))
def test_optimizer(workplace, name):
    """The usual tests compose and train with each of them in test_contract.py."""
    path = yaml.safe_load((CONF / "optimizer" / f"{name}.yaml").read_text())["name"]
    if ":" in path:
        pytest.importorskip(path.partition(":")[0])
    check(f"optimizer={name}", "model.widths=[4]", "budget=smoke")


@pytest.mark.parametrize("name", members("optimizer"))
def test_optimizer_file_has_the_arguments_of_the_constructor(name):
    file = yaml.safe_load((CONF / "optimizer" / f"{name}.yaml").read_text())
    path = file["name"]
    if ":" in path:  # of the extra `baselines`
        pytest.importorskip(path.partition(":")[0])
    constructor = signature.defaults("optimizer", path)
    assert file.keys() - files.common("optimizer").keys() == constructor.keys() and (path == name or ":" in path)
    for key, value in constructor.items():
        if value != "???" and value is not None:
            assert (
                isinstance(file[key], type(value))
                or isinstance(value, (int, float))
                and isinstance(file[key], (int, float))
            ), key


@pytest.mark.parametrize("name", members("schedule"))
def test_schedule(workplace, name):
    """A batch is the whole set, so that a step is an epoch and the schedule moves."""
    words = ["schedule.epochs=2"] if name == "cosine" else ["schedule.period=1"] if name == "step" else []
    check(f"schedule={name}", "budget.epochs=2", "batch_size=1437", "model.widths=[4]", *words)


@pytest.mark.parametrize("name", members("budget"))
def test_budget(workplace, name):
    (run,) = expand([f"budget={name}", "budget.steps=2"])
    assert run.config["budget"]["name"] == name
    check(f"budget={name}", "budget.steps=2", "model.widths=[4]")


@pytest.mark.parametrize("name", members("logger"))
def test_logger(workplace, name):
    words = ["logger.mode=disabled"] if name == "wandb" else []  # what it writes is in test_loggers.py
    check(f"logger={name}", "budget=smoke", "model.widths=[4]", *words)


@pytest.mark.parametrize("name", members("instrument"))
def test_instrument(workplace, name):
    words = {"trajectory": ["model=free_mlp", "model.widths=[4]"], "optimum": ["model=linear", "l2=0.1"]}
    check(f"instrument={name}", "budget=smoke", *words.get(name, ["model.widths=[4]"]))
