"""Every experiment that ships: its cells are composed and checked, and of those that two steps cannot tell apart one is
run for two steps, on tiny files in the formats of its data sets, networks made narrow where the real ones would take
minutes. A worker's experiments share one folder of runs, as they do for a user.

The usual tests compose the first cell of each experiment, and run one cell of each optimizer on vectors, images and
texts, and one with each model, data set, loss, schedule and instrument. The slow ones compose all cells, and run a cell
if its problem is new (data set, model, loss, type, instrument), if its optimizer is new for such a model, loss, type or
schedule, or if a setting of its optimizer is new on data of such a form. An amount counts as its sign, or as more than
1.
"""

import gzip
import hashlib
import json
import lzma
import os
import re
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_data
import yaml
from harness import command, directories, summary

from sobench.config import files as conf_files
from sobench.config import grid, hydra_private, identity
from sobench.config.composer import Composer
from sobench.data.sources import File, Source, declared
from sobench.execution import task

SAMPLES = {"train": 100, "test": 20}
DIGITS = sum(declared()["digits"].rows)
"""The samples of the set that is used whole where no part is taken."""
NAMES = conf_files.members("experiment")


def original(name: str) -> str | None:
    """The experiment whose settings an experiment has, where it sets nothing of its own."""
    text = re.sub(r"^#.*\n|\s+#.*$", "", (conf_files.conf_dir() / f"experiment/{name}.yaml").read_text(), flags=re.M)
    found = re.fullmatch(r"defaults:\s+- /experiment/(\S+)@_global_(\s+- _self_)?\s*", text)
    return found[1] if found else None


OTHER_NAMES = {name: known for name in NAMES if (known := original(name))}
AUTOENCODERS = ["model.widths=[12,8]", "model.code=3", "batch_size=20"]
IMAGES = "dataset=cifar10,sars_cov2"
TABLES_AND_TEXTS = [
    ["dataset=usps,mnist", "model.widths=[8,8]"],
    *([f"dataset={texts}", "model.hidden=4", "dataset.length=12"] for texts in ("covid_tweets", "imdb")),
]
GROUPED = [
    ["model=mlp", "model.widths=[8,8]", "batch_size=20"],
    ["model=lenet", "batch_size=20"],
    ["model=vgg11_prime", "model.width=2", "batch_size=20"],
]
SHRINK: dict[str, list[list[str]]] = {
    r"kbfgs20/(fig-2\.[124567]|authors-log|beta2|stable)": [AUTOENCODERS],
    r"kbfgs/(table-3\.[38]|fig-3\.[123]|kfac-split)|tnt/fig-4\.[246]": [AUTOENCODERS],
    r"kbfgs20/fig-2\.3": [[*AUTOENCODERS, "optimizer.lr=0.1", "optimizer.damping=0.1,1"]],
    r"kbfgs20/table-2\.[12]": [["model.widths=[16,16],[24,24]", "batch_size=400"]],
    r"kbfgs/table-3\.[12]": [["model.width=1", "batch_size=400"]],
    r"kbfgs/table-3\.4|tnt/(table-4\.2|fig-4\.[35])": [
        ["model=vgg16", "model.width=4", "batch_size=20"],
        ["model=resnet32", "model.depth=8", "batch_size=20"],
    ],
    r"kbfgs/fig-3\.[46]": [["model.width=4", "batch_size=20"]],
    r"kbfgs/fig-3\.[57]": [["model.depth=8", "batch_size=20"]],
    r"kbfgs/(table-3\.9|fig-3\.[89])": [
        ["model=resnet32_4,resnet32", "model.width=2", "model.depth=8", "batch_size=20"]
    ],
    r"tnt/fig-4\.1": [["batch_size=60", "model.widths=[4,4]"]],
    r"tnt/table-4\.1|smw/table-costs": [["model.widths=[16,16],[24,24]"]],
    r"kernelsgd/theorem-3\.1": [[]],
    r"kernelsgd/fig-1": [["instrument.points=3", "model.widths=[8,8]"]],
    r"kernelsgd/(table-[34]|fig-[23])": [
        *TABLES_AND_TEXTS,
        [IMAGES, "batch_size=2", "optimizer=kernel_sgd,adahessian,esgd,robust_lbfgs,sgd"],
        [IMAGES, "batch_size=2", "optimizer=lbfgs", "optimizer.max_iter=1"],
    ],
    r"kernelsgd/(table-1|fig-[45])": [*TABLES_AND_TEXTS, [IMAGES, "batch_size=2"]],
    r"groupednewton/(fig-[12])": [
        ["model=lenet", "batch_size=20"],
        ["model=vgg11_prime", "model.width=2", "batch_size=20"],
    ],
    r"csfd/fig-3": [
        ["model=linear", "dataset=a9a,mnist", "batch_size=20"],
        ["model=mnist_autoencoder", *AUTOENCODERS],
        ["dataset=mnist,svhn,cifar10", "model=lenet", "batch_size=20"],
        ["model=csfd_vgg11", "model.width=2", "model.classifier=[4]", "batch_size=20"],
    ],
    r"csfd/fig-1": [[]],
    r"csfd/s-fig-4": [["drop_last=false"]],
    r"csfd/hvp-time": [["model.width=2"]],
    r"csfd/s-fig-1": [
        ["model=csfd_vgg11", "model.width=2", "model.classifier=[4]", "batch_size=20"],
        ["model=lenet", "batch_size=20"],
    ],
    r"csfd/(s-fig-[235]|s-table-1|full-batch|epoch-time|early-termination)": [["batch_size=20"]],
    r"groupednewton/diagonal": GROUPED,
    r"groupednewton/(fig-3|test-curves|train-times|partition)": [
        *GROUPED,
        ["model=big_mlp", f"model.widths={[4] * 20}".replace(" ", ""), "batch_size=20"],
    ],
    r"zoo/vit": [["model.width=8", "model.depth=1", "batch_size=20"]],
    r"zoo/gpt": [["model.width=8", "model.depth=1", "dataset.length=8", "batch_size=20"]],
    r"practical/width": [["dataset=digits", "model.widths=[4],[5]"]],
    r"practical/((fig|table)-.*|damping)": [["dataset=digits"]],
}
"""What makes an experiment small, by its name: the words of each command that runs it, together all of its cells (of
five sets that differ in their files alone, two).
"""


def commands(name: str) -> list[list[str]]:
    return next((words for pattern, words in SHRINK.items() if re.fullmatch(pattern, name)), [[]])


# A mirror whose MNIST has the checksums that are declared


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for all runs of this module, and SOBENCH_DATA a mirror of tiny files."""
    folder = tmp_path_factory.mktemp("experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_data, "SAMPLES", SAMPLES)
        tiny_data.declare(patch)
        mirror = tiny_data.write(folder / "mirror")
        patch.setitem(declared(), "mnist", write_mnist(mirror))
        write_webspam(mirror)
        patch.setenv("SOBENCH_DATA", str(mirror))
        patch.setenv("SOBENCH_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        yield folder


def write_mnist(root: Path) -> Source:
    """The four files in the mirror, and their declaration."""
    rng, source = np.random.default_rng(0), declared()["mnist"]
    (root / source.folder).mkdir(parents=True)
    files = {}
    for name in source.files:
        samples = SAMPLES["train" if name.startswith("train") else "test"]
        shape = (samples, 28, 28) if "images" in name else (samples,)
        array = rng.integers(0, 256 if "images" in name else 10, shape, dtype=np.uint8)
        content = gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())
        (root / source.folder / name).write_bytes(content)
        files[name] = File(name, f"md5:{hashlib.md5(content).hexdigest()}", len(content))
    return Source("mnist", "small", folder=source.folder, urls=("http://127.0.0.1:9/",), files=files)


def write_webspam(root: Path) -> None:
    (name,) = declared()["libsvm-webspam"].files
    lines = tiny_data.svmlight(np.random.default_rng(0), SAMPLES["train"], 254, (-1, 1))
    (root / "libsvm" / name).write_bytes(lzma.compress(lines))


# The tests

SHORT = ["budget=smoke", "budget.grid=whole", "budget.steps=2", "seed=0", "threads=1"]


def kind(value):
    """A setting as far as two steps can tell: of a number its sign, of a whole number whether it is 0, 1 or more."""
    if isinstance(value, dict):
        return {key: value[key] if key == "depth" else kind(part) for key, part in value.items()}
    if isinstance(value, list):
        return [kind(part) for part in value]
    if isinstance(value, float):
        return f"{np.sign(value):+.0f}"
    return "more" if isinstance(value, int) and value > 1 else value


def form(settings) -> str:
    """The form of the samples that the model is given."""
    if settings["model"]["name"] in ("linear", "mlp", "autoencoder"):
        return "vectors"
    return "texts" if settings["dataset"]["name"] in ("imdb", "covid_tweets") else "images"


def parts(run) -> set[str]:
    """Kinds of settings that have to be run once: the problem, the optimizer in its surroundings, its settings."""
    settings = kind(identity.identity(run.config))
    problem = ["problem", *(settings.get(key) for key in ("model", "loss", "dtype", "dataset", "instrument"))]
    method, on = settings["optimizer"]["name"], form(settings)
    surroundings = [
        [method, settings["model"]["name"]],
        [method, settings["loss"], settings["dtype"]],
        [method, on, settings.get("schedule")],
    ]
    own = [[method, on, key, value] for key, value in settings["optimizer"].items()]
    return {json.dumps(part, sort_keys=True) for part in (problem, *surroundings, *own)}


@pytest.fixture(scope="module")
def tried() -> set:
    """The kinds of settings that were run."""
    return set()


@pytest.fixture(scope="module")
def composer() -> Composer:
    with hydra_private.config_loader() as loader:
        return Composer(loader)


def runs_to_the_end(run) -> None:
    """By the parts of `sobench run`, which composes each run once more before it starts.

    test_a_look_alike_... tests the whole command.
    """
    summary = task.ensure_result(run)
    assert (summary["status"], summary["steps"]) == ("done", 2), summary


def has_the_data_of(name, words, runs) -> None:
    """Whether these runs of an experiment read what `data_sets_of` says, where the words choose no data set."""
    if not any("dataset" in word for word in words):
        of_files = {_read_from(data) for data in grid.data_sets_of(name).values()}
        assert {_read_from(run.config["dataset"]) for run in runs} <= of_files


def kinds_of(job: list[str]) -> set[tuple[str, ...]]:
    """What has to be run once, of the members of config groups that a job chooses; "" is the choice of its model."""
    member = conf_files.chosen(job)
    of_groups = {group: conf_files.group_defaults(group, member[group]) for group in ("model", "dataset")}
    groups = ("model", "dataset", "loss", "schedule", "instrument")
    return {(form(of_groups), member["optimizer"]), *((group, member.get(group, "")) for group in groups)}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OTHER_NAMES])
def test_a_cell_of_each_kind_runs(place, tried, composer, name):
    """The first cell of each experiment is composed; of all experiments one cell of each kind is run, see `kinds_of`.

    test_every_cell_runs, which is slow, has all cells.
    """
    for number, words in enumerate(commands(name)):
        with hydra_private.config_loader() as loader:
            jobs = grid.job_overrides([f"experiment={name}", *SHORT, *words], loader)
        for place_of, job in enumerate(jobs):
            is_new = not kinds_of(job) <= tried
            if is_new or number == place_of == 0:
                run = grid._compose_run(job, composer)
                has_the_data_of(name, words, [run])
            if is_new:
                runs_to_the_end(run)
                tried |= kinds_of(job)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name not in OTHER_NAMES])
def test_every_cell_runs(place, tried, name):
    for words in commands(name):
        runs = grid.expand([f"experiment={name}", *SHORT, *words])
        has_the_data_of(name, words, runs)
        for run in runs:
            if not parts(run) <= tried:
                runs_to_the_end(run)
                tried |= parts(run)


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_another_name_for_an_experiment_is_that_experiment(name):
    assert grid.sweeper([f"experiment={name}"]) == grid.sweeper([f"experiment={OTHER_NAMES[name]}"])
    assert OTHER_NAMES[name] not in OTHER_NAMES, "its cells are run"


def chosen(job: list[str], *groups: str) -> tuple[str, ...]:
    """The settings of these groups in the overrides of a job."""
    return tuple(setting for setting in job if re.split(r"[.=]", setting)[0] in groups)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OTHER_NAMES])
def test_a_smoke_is_small_and_has_every_method_and_problem(name, composer):
    """At most 40 runs of two steps on few samples: a minute on two cores."""
    with hydra_private.config_loader() as loader:
        whole, part = (grid.job_overrides([f"experiment={name}", *words], loader) for words in ([], ["budget=smoke"]))
    budget = composer.cell([f"experiment={name}", "budget=smoke"])[0].budget
    part = [[setting for setting in job if setting != "budget=smoke"] for job in part]
    assert 0 < len(part) <= 40 and all(job in whole for job in part)
    assert len({setting for job in part for setting in job if setting.startswith("seed=")}) <= 1
    assert max(budget.steps, budget.dense_steps) <= 2 and len(part) * (budget.samples or DIGITS) <= 45_000
    if any("vgg" in setting or "resnet" in setting for job in part for setting in chosen(job, "model")):
        assert budget.samples is not None and budget.samples <= 100
    for key in (
        lambda job: chosen(job, "dataset", "model", "loss"),
        lambda job: (chosen(job, "model"), [setting for setting in job if setting.startswith("optimizer=")]),
    ):
        assert {str(key(job)) for job in part} == {str(key(job)) for job in whole}


@pytest.mark.parametrize("name", NAMES)
def test_every_budget_has_a_limit(name, composer):
    budgets = composer.cell([f"experiment={name}"])[0].budgets
    for budget in ("paper", "cpu"):
        assert any(budgets[budget].get(limit) for limit in ("epochs", "steps", "seconds")), budget


def _read_from(dataset: dict) -> tuple:
    """What decides from which files a data set is read."""
    return dataset["name"], dataset.get("set"), dataset.get("vectors")


def test_each_way_to_shrink_is_of_an_experiment():
    for pattern in SHRINK:
        assert any(re.fullmatch(pattern, name) for name in NAMES), pattern


def test_a_look_alike_takes_the_cells_of_its_original(place):
    words = ["dataset=curves_synthetic", "dataset.train=40", "dataset.test=20", *AUTOENCODERS]
    done = command(
        "run", "experiment=kbfgs/fig-3.3", "budget=smoke", "seed=0", "threads=1", f"runs={place}/look-alikes", *words
    )
    assert done.code == 0 and not done.err, done
    found = [yaml.safe_load((path / "config.yaml").read_text()) for path in directories(place / "look-alikes")]
    assert len(found) == 8 and {identity["dataset"]["name"] for identity in found} == {"curves_synthetic"}


REAL = {
    "practical/table-3": [],
    "kbfgs20/fig-2.4": [],
    "kbfgs/fig-3.1": [],
    "tnt/fig-4.2": ["dataset=mnist"],
    "smw/fig-5.1": [],
    "kernelsgd/table-4": ["dataset=usps"],
}
"""Experiments on data that is at hand, at their real sizes."""
MIRROR = os.environ.get("SOBENCH_DATA")  # now: no test runs with what the user's own shell says


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_on_its_own_data(workplace, name):
    if not (mirror := MIRROR):
        pytest.skip("SOBENCH_DATA names no folder with the real data")
    began = time.process_time()
    done = command("run", f"experiment={name}", "budget=smoke", f"data.mirror={Path(mirror).absolute()}", *REAL[name])
    assert done.code == 0 and not done.err, done
    assert time.process_time() - began < 120, "more than a minute on two cores"
    assert {(summary(path)["status"], summary(path)["steps"]) for path in directories()} == {("done", 2)}
