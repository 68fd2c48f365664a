"""What a configuration may say, and what of it identifies a run."""

import copy
import json

import pytest
import yaml
from harness import run_with

from sobench.config import files as conf_files
from sobench.config import grid, jobs, registry, rules, validation
from sobench.config.run import Run
from sobench.errors import UsageError

BASE = run_with().config


def changed(key: str, value) -> dict:
    return run_with(**{key.replace(".", "__"): value}).config


IGNORED = {
    "runs": "elsewhere",
    "reports": "elsewhere",
    "threads": 7,
    "logger.name": "other",
    "logger.copies": {"csv": True},
    "data.mirror": "/mirror",
    "gpu.per_run": 0.25,
    "isolate": True,
    "slots": "/slots",
    "wait": True,
    "timeout": 60,
    "longest_step": None,
    "rerun": "stale",
    "sweep.fail_fast": True,
    "data.cache": "/cache",
    "checkpoint.seconds": 0,
    "progress": False,
    "convergence.evaluations": 5,
    "budgets": {"cpu": {"epochs": 3}},
    "budget.name": "paper",
    "budget.dense_steps": 3,
    "budget.long_epochs": 3,
    "budget.long_seconds": 3,
    "budget.grid": "first",
    "experiment": "demo/digits",
}
COUNTED = {
    "batch_size": 32,
    "drop_last": False,
    "loss": "squared_error",
    "l2": 0.5,
    "dtype": "float64",
    "device": "cuda",
    "batches": "fixed",
    "validation": 0.2,
    "convergence.change": 0.1,
    "init": "lecun_normal",
    "metrics": ["mine.py:macro_f1"],
    "evaluate.every": 2,
    "evaluate.steps": 5,
    "log.every": 1,
    "budget.epochs": 3,
    "budget.steps": 3,
    "budget.seconds": 3.0,
    "budget.samples": 100,
    "dataset.name": "mnist",
    "dataset.standardize": True,
    "model.name": "linear",
    "model.widths": [5],
    "model.activation": "tanh",
    "model.loss": "squared_error",
    "model.target": "input",
    "optimizer.name": "adam",
    "optimizer.lr": 0.3,
    "optimizer.momentum": 0.5,
    "optimizer.dampening": 0.5,
    "optimizer.weight_decay": 0.5,
    "optimizer.nesterov": True,
    "schedule.name": "step",
    "instrument.name": "directions",
}


def test_every_key_either_counts_or_is_ignored():
    leaves = {f"{key}.{leaf}" for key, node in BASE.items() if isinstance(node, dict) for leaf in node}
    leaves |= {key for key, node in BASE.items() if not isinstance(node, dict) or not node}
    assert leaves - {"seed"} <= IGNORED.keys() | COUNTED.keys()


@pytest.mark.parametrize("key", IGNORED)
def test_identity_ignores(key):
    assert Run.of(changed(key, IGNORED[key])).id == Run.of(BASE).id


@pytest.mark.parametrize("key", COUNTED)
def test_identity_counts(key):
    assert Run.of(changed(key, COUNTED[key])).cell != Run.of(BASE).cell


@pytest.mark.parametrize("name", ["default", "smoke"])
def test_a_run_from_before_samples_and_grid_has_the_name_that_it_had(name):
    old = changed("budget.name", name)
    del old["budget"]["samples"], old["budget"]["grid"]
    (again,) = grid.expand(jobs.overrides(old))
    assert Run.of(old).id == again.id == Run.of(BASE).id and again.config["budget"]["samples"] is None


def test_a_seed_makes_a_run_and_not_a_cell():
    one, other = Run.of(changed("seed", 1)), Run.of(changed("seed", 2))
    assert one.cell == other.cell and one.id != other.id


def test_whole_numbers_are_the_same_however_they_are_written():
    assert Run.of(changed("optimizer.lr", 1)).cell == Run.of(changed("optimizer.lr", 1.0)).cell
    assert Run.of(changed("optimizer.betas", [0, 0.5])).cell == Run.of(changed("optimizer.betas", [0.0, 0.5])).cell
    assert Run.of(changed("optimizer.nesterov", 1)).cell != Run.of(changed("optimizer.nesterov", True)).cell


def test_identity_does_not_depend_on_the_order_of_the_keys():
    reverse = {
        key: dict(reversed(node.items())) if isinstance(node, dict) else node for key, node in reversed(BASE.items())
    }
    assert Run.of(reverse).cell == Run.of(BASE).cell


def test_identity_survives_a_round_trip_through_json():
    settings = changed("optimizer.lr", 0.1 + 0.2)
    assert Run.of(json.loads(json.dumps(settings))).cell == Run.of(settings).cell


def test_validate_accepts_the_defaults_and_changes_nothing():
    settings = copy.deepcopy(BASE)
    validation.validate(settings)
    assert settings == BASE


@pytest.mark.parametrize("key", sorted(validation.RULES))
def test_rules_are_about_keys_that_exist(key):
    group, _, name = key.partition(".")
    if group in conf_files.GROUPS:
        files = [yaml.safe_load(file.read_text()) for file in (conf_files.conf_dir() / group).glob("*.yaml")]
        assert any(name in file for file in files)
    else:
        node = BASE[group]
        assert not name or name in node


def optimizers():
    """{name: settings} of conf/optimizer, without those of classes of other packages."""
    found = {
        file.stem: yaml.safe_load(file.read_text()) for file in (conf_files.conf_dir() / "optimizer").glob("*.yaml")
    }
    return {name: settings for name, settings in found.items() if ":" not in settings["name"]}


def test_every_default_keeps_its_rule():
    for optimizer, settings in optimizers().items():
        table = {**rules.COMMON, **rules.OPTIMIZER_RULES[optimizer]}
        for name, value in settings.items():
            assert name not in table or table[name].accepts(value), (optimizer, name)


def test_every_built_in_optimizer_has_a_table_of_rules_about_words_that_it_has():
    files = optimizers()
    assert rules.OPTIMIZER_RULES.keys() == files.keys()
    assert [(name, word) for name in files for word in rules.OPTIMIZER_RULES[name] if word not in files[name]] == []


@pytest.mark.parametrize(
    "rule, good, bad",
    [
        (rules.POSITIVE, [1, 0.5], [0, -1, float("nan"), float("inf"), True, "1", None, [1]]),
        (rules.NON_NEGATIVE, [0, 0.0, 2], [-1e-9, float("nan"), float("inf"), False, None]),
        (rules.UNIT, [0, 0.999], [1, -0.1, float("nan")]),
        (rules.COUNT, [1, 5], [0, 1.0, True, None]),
        (rules.NUMBER, [-1, 0.5], [float("nan"), float("-inf"), True]),
        (rules.FLAG, [True, False], [0, 1, "true", None]),
        (rules.FOLDER, ["runs", "."], ["", " ", 5, None]),
        (rules.optional(rules.COUNT), [None, 1], [0, "null"]),
        (rules.choice("a", "b"), ["a"], ["c", "", None]),
    ],
)
def test_rules(rule, good, bad):
    assert [value for value in good if not rule.accepts(value)] == []
    assert [value for value in bad if rule.accepts(value)] == []


def test_a_plugin_keeps_its_own_meaning_of_a_shared_word(plugins):
    """torch's Adafactor has eps=(None, 0.001) and weight_decay as everyone."""
    plugins("adafactor", {}, {"adafactor": "torch.optim:Adafactor"})
    settings = changed("optimizer", conf_files.group_defaults("optimizer", "adafactor"))
    validation.validate(settings)
    for key, value in (("eps", [1e-8, 0.01]), ("d", 2), ("d", 0.5)):
        settings["optimizer"][key] = value
        validation.validate(settings)
    for key, value in (("lr", -1.0), ("weight_decay", -1.0), ("eps", [1e-8]), ("d", "one")):
        with pytest.raises(UsageError, match=f"optimizer.{key}: got"):
            validation.validate(copy.deepcopy(settings) | {"optimizer": settings["optimizer"] | {key: value}})


@pytest.mark.parametrize(
    "words, chosen",
    [
        ([], "sgd"),
        (["optimizer=adam"], "adam"),
        (["experiment=demo/digits"], None),
        (["optimizer=adam", "optimizer.lr=1"], "adam"),
    ],
)
def test_chosen(words, chosen):
    assert conf_files.chosen(words).get("optimizer") == chosen


def test_members_are_found_at_any_depth():
    assert "practical/table-3" in conf_files.members("experiment")
    assert {"sgd", "hf_newton"} <= set(conf_files.members("optimizer"))
    assert set(conf_files.members("dataset")) == {
        "a9a",
        "cifar10",
        "cifar100",
        "covid_tweets",
        "curves",
        "curves_synthetic",
        "diabetes",
        "digits",
        "faces",
        "faces_synthetic",
        "imdb",
        "letter",
        "libsvm",
        "mnist",
        "noise",
        "npz",
        "pendigits",
        "poisson",
        "pydoc",
        "sars_cov2",
        "satimage",
        "svhn",
        "text",
        "usps",
    }


def test_every_group_says_what_it_is():
    """`sobench list` prints the first comment of each file."""
    for kind in registry.KINDS:
        for file in (conf_files.conf_dir() / kind).glob("*.yaml"):
            assert len(conf_files.about(f"{kind}/{file.stem}")) > 10
