"""Configurations from merged files that are shared are what Hydra composes one by one."""

import re

import compositions
import hydra
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.types import RunMode
from omegaconf import OmegaConf

from sobench.config import files, grid, hydra_private, identity
from sobench.config.composer import Composer, resolve_constants
from sobench.config.run import Run
from sobench.errors import UsageError
from sobench.execution.remote import JobLoader
from sobench.system.text import Wait

COMPANION = ["instrument=directions", "+optimizer@instrument.companions.a=kfac"]
FORMS = [
    [],
    ["optimizer=adam", "optimizer.lr=0.5"],
    ["optimizer.lr=0.5", "optimizer=adam"],
    ["optimizer.lr=0.1", "optimizer.lr=0.2", "optimizer=sgd"],
    ["optimizer={lr:0.3,momentum:0.5}"],
    ["optimizer.lr=0.25", "optimizer={momentum:0.5}"],
    ["model.widths=[4,5]", "convergence.change=null", "l2=1e-3", "drop_last=false"],
    ["runs='a b'", 'reports="x=1,2"', "data.mirror='null'", "data.cache=null"],
    ["batch_size=7", "budget.steps=${batch_size}"],
    ["budget.steps=${batch_size}", "batch_size=9"],
    ["budget.steps=${oc.select:budgets.none.steps,${batch_size}}"],
    ["budget.steps=${seed}", "seed=3"],
    ["budget=cpu", "budgets={cpu:{steps:4}}"],
    ["budget=cpu", "+budgets.cpu.steps=6"],
    ["budget=cpu", "budget.steps=8", "++budgets.cpu.steps=6"],
    ["loss=squared_error", "model.loss=cross_entropy"],
    ["model.loss=squared_error", "model.target=binary"],
    ["++l2=0.5", "+optimizer.momentum=0.5"],
    ["~budget.name", "+budget.name=default"],
    ["instrument.partition={a:[x]}", "instrument=summary"],
    [*COMPANION, "instrument.companions.a.lr=0.5"],
    ["instrument.companions.a.lr=0.5", *COMPANION, "+optimizer@instrument.companions.b=sgd"],
    ["experiment=demo/digits", "optimizer=adam", "seed=1"],
    ["experiment=tnt/table-4.1", "budget=cpu", "budget.steps=${budget.dense_steps}"],
    ["runs=${oc.env:SOBENCH_PLACE}", "slots=${runs}"],
    ["hydra.job.name=other", "optimizer=adam"],
    # refused
    ["~optimizer.lr"],
    ["+l2=0.5"],
    ["optimizer.rate=0.5"],
    ["optimizer=adma"],
    ["optimizer=1"],
    ["++optimizer=adam"],
    ["nonsense"],
    ["optimizer.lr=0.1,0.2"],
    ["optimizer@other=adam"],
    ["batch_size=${nothing}"],
    ["budget.steps=${oc.env:SOBENCH_ABSENT}"],
    ["seed=${batch_size}", "batch_size=many"],
    ["model={widths:[4],depth:3}"],
]


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """Hydra's own compositions, not those that the tests keep, which are put together in the same way."""
    kept = ConfigLoaderImpl._load_configuration_impl
    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", compositions.COMPOSE)
    return kept


@pytest.fixture(scope="module")
def loader():
    with hydra_private.config_loader() as loader:
        return loader


@pytest.fixture(scope="module")
def composer(loader) -> Composer:
    """One for all tests: what an earlier configuration has merged does not change a later one."""
    return Composer(loader)


def outcome(overrides, compose):
    """The run that is composed, or the line that refuses it."""
    try:
        with hydra_private.readable_errors(overrides):
            config, experiment = compose()
        run = Run.of(
            identity.with_contents(identity.resolved(config, identity.unresolved(config), experiment)), overrides
        )
        return run.id, run.config
    except UsageError as error:
        return str(error)


def by_hydra(overrides, loader):
    def compose():
        config = hydra_private.compose(overrides, loader)
        return hydra_private.without_hydra(config), hydra_private.experiment_of(config)

    return outcome(overrides, compose)


@pytest.mark.parametrize("overrides", FORMS, ids=" ".join)
def test_a_form_of_overrides(overrides, loader, composer, monkeypatch):
    monkeypatch.setenv("SOBENCH_PLACE", "somewhere")
    expected = by_hydra(overrides, loader)
    for _ in range(2):
        assert outcome(overrides, lambda: composer.cell(overrides)) == expected


COMBINED = [
    ["optimizer=adam", "dataset=digits", "model=mlp"],
    ["optimizer=kfac", "dataset=mnist", "model=lenet", "optimizer.lr=0.5", "model.activation=tanh"],
    ["optimizer=kbfgs20", "dataset=usps", "model=linear"],
    ["optimizer=kfac", "dataset=usps", "model=mlp", "budget.steps=${batch_size}"],
    ["optimizer=kfac", "dataset=mnist", "model=mlp", "budget.epochs=3", "+budgets.default.steps=6"],
    ["optimizer=kfac", "dataset=mnist", "model=lenet", "budget.epochs=3"],
    ["optimizer=adam", "dataset=mnist", "model=lenet", "model.loss=squared_error", "slots=${runs}", "runs=here"],
    ["optimizer=kfac", "dataset=usps", "model=mnist_autoencoder"],
    ["experiment=practical/table-2", "optimizer=adam", "dataset=digits", "model=mlp"],
    ["experiment=practical/table-2", "optimizer=kfac", "dataset=usps", "model=linear"],
    ["experiment=csfd/fig-3", "optimizer=adam", "dataset=digits", "model=lenet"],
    ["experiment=csfd/fig-3", "optimizer=newton_krylov", "dataset=usps", "model=linear"],
    ["experiment=csfd/fig-3", "optimizer=newton_krylov", "dataset=mnist", "model=vgg"],
]


def test_choices_in_several_groups_are_put_together_from_choices_in_one(loader, monkeypatch):
    """Of each member the files are merged once; the last cell of each kind merges none that is new in all groups."""
    composer = Composer(loader)
    merged, merge = [], composer._halves.merged_files
    monkeypatch.setattr(composer._halves, "merged_files", lambda choices: merged.append(len(choices)) or merge(choices))
    for overrides in COMBINED:
        assert outcome(overrides, lambda overrides=overrides: composer.cell(overrides)) == by_hydra(overrides, loader)
    before = len(merged)
    again = ["optimizer=kbfgs20", "dataset=mnist", "model=lenet"]  # every member is known, their combination is not
    assert outcome(again, lambda: composer.cell(again)) == by_hydra(again, loader)
    assert len(merged) == before


def test_what_depends_on_a_setting_is_not_resolved():
    """`one` of the root is not that of `part`, and what is set later may be either."""
    written = {
        "one": 1,
        "whole": "${one}",
        "other": {"one": "${whole}", "name": "${part.name}"},
        "part": {"one": 2, "near": "${.one}", "select": "${oc.select:.one,3}", "far": "${one}", "name": "a"},
    }
    config = OmegaConf.create(written)
    resolve_constants(config, frozenset({"part.one"}))
    expected = {**written, "whole": 1, "other": {"one": 1, "name": "${part.name}"}}
    expected["part"] = {**written["part"], "far": 1}
    assert OmegaConf.to_container(config) == expected


NAMES = files.members("experiment")


def cells_of(name, loader, kept) -> list[tuple[str, ...]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "_load_configuration_impl", kept)  # the cells are compared, not what lists them
        jobs = grid.job_overrides([f"experiment={name}"], loader)
    return list(dict.fromkeys(tuple(grid.seedless(job)[0]) for job in jobs))


@pytest.fixture(scope="module")
def seen() -> set[str]:
    """The forms of overrides that were compared."""
    return set()


def form(override: str) -> str:
    """An override, with its words and its numbers left out where it sets a value."""
    key, _, value = override.partition("=")
    return key + re.sub(r",+", ",", re.sub(r"[\w.]+", "", value))


@pytest.mark.parametrize("name", NAMES)
def test_cells_of_an_experiment(name, loader, kept, composer, seen):
    """Of its cells, those with a form of an override that was not compared yet; the slow test has all of them."""
    for cell in cells_of(name, loader, kept):
        forms = set(map(form, cell))
        if not forms <= seen:
            assert outcome(cell, lambda cell=cell: composer.cell(cell)) == by_hydra(cell, loader)
            seen |= forms


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_cells_of_an_experiment(name, loader, kept, composer):
    for cell in cells_of(name, loader, kept):
        assert outcome(cell, lambda cell=cell: composer.cell(cell)) == by_hydra(cell, loader), cell


def test_files_are_merged_once_for_each_choice(monkeypatch):
    merged, composed = [], []
    merge, compose = hydra_private.Halves.merged_files, hydra_private.compose
    monkeypatch.setattr(hydra_private.Halves, "merged_files", lambda *args: merged.append(args) or merge(*args))
    monkeypatch.setattr(hydra_private, "compose", lambda *args, **kw: composed.append(args) or compose(*args, **kw))
    runs = grid.expand(["optimizer=sgd,adam", "optimizer.lr=0.1,0.2", "batch_size=8,16,32", "seed=0,1"])
    assert len(runs) == 24 and len(merged) == 2
    assert len(composed) == 1, "that of the sweeper's settings"


@pytest.mark.parametrize(
    "words", [["optimizer=sgd,adam", "seed=3,1", "budget.steps=${batch_size}"], ["seed=1,2", "budget.steps=${seed}"]]
)
def test_runs_with_their_seeds_are_those_of_hydra(words, loader):
    runs = grid.expand(words, loader)
    assert [(run.id, run.config) for run in runs] == [by_hydra(run.overrides, loader) for run in runs]


@pytest.mark.parametrize(
    "job, expected",
    [
        (["l2=0", "seed=3", "batch_size=8"], (("l2=0", "batch_size=8"), 3)),
        (["seed=${batch_size}"], (("seed=${batch_size}",), None)),
        (["seed=1", "seed=2"], (("seed=1", "seed=2"), None)),
        (["seed=1", "++seed=2"], (("seed=1", "++seed=2"), None)),
        (["seed=007"], (("seed=007",), None)),
        (["seeds=1"], (("seeds=1",), None)),
    ],
)
def test_a_seed_is_set_later_only_where_it_is_one_plain_number(job, expected):
    assert grid.seedless(job) == expected


def test_a_seed_that_cannot_be_is_refused():
    with pytest.raises(UsageError, match="seed: got 9223372036854775808, allowed: a whole number"):
        grid.expand(["seed=0,9223372036854775808"])


def test_a_long_wait_is_announced_once(monkeypatch, capsys):
    monkeypatch.setattr(Wait, "PATIENCE", 0.0)
    grid.expand(["optimizer=sgd,adam", "seed=3,1"])
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"sobench: 2 configurations to compose and check, 1 done, about [\d.e-]+ s more", line)


OLD = hydra.__version__.startswith("1.3.")
"""From 1.4 on, Hydra's own loader refuses a job whose experiment has a grid; here that grid is read before."""


def test_jobs_of_a_launcher_are_those_of_hydra(loader):
    """The whole configuration, the node `hydra` included, whatever was composed before."""
    words = ["hydra.job.name=other"]
    master = loader.load_configuration("config", words, run_mode=RunMode.MULTIRUN)
    ours = JobLoader(loader)
    for job in (
        ["optimizer=adam", "optimizer.lr=0.1", "seed=0"],
        ["seed=3", "optimizer=adam", "optimizer.lr=0.1"],
        ["optimizer=adam", "seed=${batch_size}"],
        ["optimizer=adam", "hydra.job.chdir=true"],
        *([["optimizer.lr=${seed}", "experiment=demo/digits", "seed=12"]] if OLD else []),
    ):
        wanted, got = loader.load_sweep_config(master, job), ours.load_sweep_config(master, job)
        assert got == wanted and OmegaConf.to_container(got) == OmegaConf.to_container(wanted)
        assert got.hydra.job.override_dirname == wanted.hydra.job.override_dirname
        assert OmegaConf.to_container(got.optimizer, resolve=True) == OmegaConf.to_container(
            wanted.optimizer, resolve=True
        )
    with pytest.raises(Exception) as error, hydra_private.readable_errors(["optimizer=adam", "optimizer.rate=1"]):
        ours.load_sweep_config(master, ["optimizer=adam", "optimizer.rate=1"])
    assert "optimizer.rate: no such key" in str(error.value)


KEPT = [
    ["hydra.mode=MULTIRUN", "optimizer.lr=0.1,0.2", "optimizer=adam", "seed=3"],
    ["hydra.job.name=other", "hydra/launcher=basic", "optimizer={momentum:0.5}", "optimizer.lr=0.25"],
    ["experiment=demo/digits", "+budgets.cpu.steps=6", "~optimizer.lr", "runs='a b'"],
    ["optimizer=kfac", *COMPANION, "instrument.companions.a.lr=0.5", "budget.steps=${batch_size}"],
    ["optimizer=kfac", "optimizer.rate=0.5"],
    ["optimizer=kfac", "~optimizer.nothing"],
]


@pytest.mark.parametrize("overrides", KEPT, ids=" ".join)
@pytest.mark.parametrize("mode", [RunMode.RUN, RunMode.MULTIRUN])
def test_what_the_tests_compose_is_what_hydra_composes(overrides, mode, loader, kept, monkeypatch):
    """The whole configuration, or the exception; the first time from files that nothing keeps."""
    seen, load_once = [], ConfigRepository.load_config
    for compose, load in ((compositions.COMPOSE, compositions.LOAD), (kept, load_once), (kept, load_once)):
        monkeypatch.setattr(ConfigRepository, "load_config", load)
        try:
            seen.append(repr(compose(loader, "config", overrides, mode, validate_sweep_overrides=mode is RunMode.RUN)))
        except Exception as error:
            seen.append(f"{type(error)} {error}")
    assert seen[1:] == seen[:1] * 2
