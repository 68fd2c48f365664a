"""Chapters 4 and 5: the settings of every cell and the published values, each against a second copy of the thesis's
tables; the reports show and claim runs that the experiment makes; and no claim asks more than the tables show."""

import re

import pytest
import yaml

from sobench.config import files
from sobench.config.grid import expand
from sobench.report import read, reports
from sobench.results.collection import matches

HYPERPARAMETERS = {  # experiment -> its methods, and the rows of tables 4.3, 4.5, 4.7, 4.4, 4.6
    "tnt/fig-4.2": """
        | tnt | kfac | shampoo | adam | sgd
        mnist | (1e-4, 0.1) | (0.03, 1) | (3e-4, 3e-4) | (1e-4, 1e-4) | (0.003, -)
        faces | (1e-6, 0.003) | (0.01, 0.1) | (3e-4, 3e-4) | (1e-4, 1e-4) | (0.001, -)
        curves | (3e-6, 0.01) | (0.3, 30) | (3e-4, 3e-4) | (1e-3, 1e-3) | (0.003, -)""",
    "tnt/fig-4.4": """
        | tnt | kfac | tnt EF | kfac EF
        mnist | (1e-4, 0.1) | (0.03, 1) | (3e-6, 0.01) | (1, 100)
        faces | (1e-6, 0.003) | (0.01, 0.1) | (3e-6, 0.01) | (0.3, 30)
        curves | (3e-6, 0.01) | (0.3, 30) | (0.003, 1) | (1, 100)""",
    "tnt/fig-4.6": """
    | tnt | kfac | shampoo | adam | sgd
    mnist | (1e-4, 0.1, 0.9, 0.9) | (0.001, 0.1, 0.99, 0.99) | (1e-4, 3e-4, 0.99, 0.99) | (1e-4, 1e-4, 0.99, 0.99) | (0.001, 0.99)
    faces | (1e-6, 0.003, 0.9, 0.9) | (0.01, 0.1, 0.9, 0.9) | (1e-4, 3e-4, 0.99, 0.999) | (1e-4, 1e-4, 0.9, 0.9) | (0.001, 0.9)""",  # noqa: E501 (a table)
    "tnt/table-4.2": """
        | tnt | kfac | shampoo | adam | sgdw
        cifar10 vgg16 | (1e-4, 10, 0.1) | (3e-4, 1, 0.001) | (0.001, 1, 0.1) | (0.003, 0.1, 0.1) | (0.003, 0.1, -)
        cifar10 resnet32 | (1e-4, 10, 0.01) | (0.01, 0.1, 0.1) | (0.01, 0.1, 0.01) | (0.003, 0.1, 0.01) | (0.03, 0.01, -)
        cifar100 vgg16 | (1e-4, 10, 0.1) | (0.01, 0.1, 1) | (0.001, 1, 0.01) | (3e-4, 1, 0.01) | (0.003, 0.1, -)
        cifar100 resnet32 | (1e-4, 10, 0.01) | (0.1, 0.01, 0.1) | (0.01, 0.1, 0.01) | (0.01, 0.1, 0.01) | (0.03, 0.01, -)""",  # noqa: E501 (a table)
    "tnt/fig-4.5": """
        | tnt | kfac | tnt EF | kfac EF
        cifar10 vgg16 | (1e-4, 10, 0.1) | (3e-4, 1, 0.001) | (1e-4, 10, 0.1) | (3e-4, 1, 0.001)
        cifar10 resnet32 | (1e-4, 10, 0.01) | (0.01, 0.1, 0.1) | (1e-4, 10, 0.01) | (0.01, 0.1, 0.1)
        cifar100 vgg16 | (1e-4, 10, 0.1) | (0.01, 0.1, 1) | (3e-5, 10, 0.1) | (3e-4, 1, 0.1)
        cifar100 resnet32 | (1e-4, 10, 0.01) | (0.1, 0.01, 0.1) | (1e-4, 10, 0.01) | (0.01, 0.1, 0.001)""",
}
ACCURACIES = {  # tables 4.2 and 4.6, in per cent
    "tnt/table-4.2": """
        tnt 94.31 93.48 76.01 71.70
        kfac 94.39 93.31 76.21 71.14
        shampoo 93.88 93.13 76.02 70.35
        adam 94.28 93.35 75.64 70.35
        sgdw 94.14 93.13 75.41 70.18""",
    "tnt/fig-4.5": """
        tnt 94.31 93.48 76.01 71.70
        tnt_ef 94.50 93.24 75.27 71.58
        kfac 94.39 93.31 76.21 71.14
        kfac_ef 94.29 93.16 75.55 71.61""",
}
SIX = ("sgd", "hessian_free", "smw_gn", "smw_ng", "smw_ng_bd", "kfac")
CHAPTER_5 = {  # experiment -> N1, N2, hidden layers, epochs, learning rates (section 5.8)
    "smw/fig-5.1": (60, 30, [500], 10, dict.fromkeys(SIX, 0.1)),
    "smw/fig-5.2": (100, 50, [400, 400], 10, dict.fromkeys(SIX, 0.01)),
    "smw/fig-5.3": (60, 30, [400, 400], 1, dict(zip(SIX, (0.4, 0.05, 0.05, 0.1, 0.1, 0.1)))),
}
ARTIFACTS = [
    "tnt/fig-4.2",
    "tnt/fig-4.3",
    "tnt/fig-4.4",
    "tnt/fig-4.5",
    "tnt/fig-4.6",
    "tnt/table-4.1",
    "tnt/table-4.2",
    "smw/fig-5.1",
    "smw/fig-5.2",
    "smw/fig-5.3",
    "smw/table-costs",
]
VARIED = {"dataset", "model", "optimizer", "budget.seconds"} | {
    f"optimizer.{name}"
    for name in ("lr", "damping", "weight_decay", "eps", "momentum", "stats_decay", "betas", "fisher")
}
"""What the tables of chapter 4 give; any other setting of a cell is the same for all cells of its method."""


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip("\n").splitlines()]


def cells(experiment: str) -> list[dict[str, str]]:
    file = yaml.safe_load((files.conf_dir() / "experiment" / f"{experiment}.yaml").read_text())
    return [dict(setting.split("=", 1) for setting in cell) for cell in file["hydra"]["sweeper"]["cells"]]


def printed(cell: dict[str, str], *, more: bool) -> list[float]:
    """The cell's numbers in the thesis's order: learning rate, weight decay, damping; `more`: mu and beta."""
    names = [("lr",), ("weight_decay",), ("damping", "eps")]
    found = [cell[f"optimizer.{n}"] for alike in names for n in alike if f"optimizer.{n}" in cell]
    if more:
        averages = cell.get("optimizer.betas") or ",".join(
            cell.get(f"optimizer.{n}", "") for n in ("momentum", "stats_decay")
        )
        found += [part for part in averages.strip("[]").split(",") if part]
    return [float(value) for value in found]


@pytest.mark.parametrize("experiment", HYPERPARAMETERS)
def test_the_settings_are_those_of_the_table(experiment):
    head, *rows = lines(HYPERPARAMETERS[experiment])
    methods, left = [name.strip() for name in head.split("|")[1:]], cells(experiment)
    for row in rows:
        problem, *values = (part.strip() for part in row.split("|"))
        for method, value in zip(methods, values, strict=True):
            (cell,) = [
                c
                for c in left
                if problem.split()[0] == c["dataset"]
                and c["optimizer"] == method.removesuffix(" EF")
                and (problem.split() + [f"{c['dataset']}_autoencoder"])[1] == c["model"]
                and (c.get("optimizer.fisher") == "empirical") == method.endswith("EF")
            ]
            left.remove(cell)
            numbers = [float(v) for v in re.findall(r"[\d.e-]*\d[\d.e-]*", value)]
            assert printed(cell, more="4.6" in experiment) == numbers, (problem, method)
            assert cell.get("optimizer.momentum", "0.9") == "0.9" or "4.6" in experiment
    assert not left


@pytest.mark.parametrize("experiment", HYPERPARAMETERS)
def test_what_the_tables_do_not_give_is_the_same_in_every_cell_of_a_method(experiment):
    found: dict[str, set] = {}
    for cell in cells(experiment):
        found.setdefault(cell["optimizer"], set()).add(frozenset((k, v) for k, v in cell.items() if k not in VARIED))
    assert all(len(settings) == 1 for settings in found.values())
    if "autoencoder" not in str(cells(experiment)):
        periods = {("optimizer.stats_period", "10"), ("optimizer.inverse_period", "100")}
        longer = {("budget.epochs", "${budget.long_epochs}"), ("schedule.period", "60")}
        for method, (settings,) in found.items():
            assert settings >= (periods if method in ("tnt", "kfac", "shampoo") else longer)
            assert not settings & (longer if method in ("tnt", "kfac", "shampoo") else periods)


@pytest.mark.parametrize("name", ACCURACIES)
def test_the_published_accuracies(name):
    report = read(name)
    rows = {method: values for method, *values in map(str.split, lines(ACCURACIES[name]))}
    assert report.methods.keys() == rows.keys()
    places = [(c.where["dataset"], c.where["model"]) for c in report.table.columns]
    assert places == [("cifar10", "vgg"), ("cifar10", "resnet"), ("cifar100", "vgg"), ("cifar100", "resnet")]
    for method, values in rows.items():
        assert [100 * c.published[method] for c in report.table.columns] == pytest.approx(
            [float(v) for v in values], rel=1e-12
        )


@pytest.mark.parametrize("name", ACCURACIES)
def test_the_published_accuracies_agree_with_the_readings(name):
    report = read(name)
    for claim in report.claims:
        test = claim.test
        (published,) = [c.published for c in report.table.columns if c.where == test.where]
        ours, theirs = published[test.subject], published[test.rivals[0]]
        low, high = test.within or (test.at_least or 0, test.at_most or float("inf"))
        assert ours > theirs if test.kind == "compare" else low <= ours / theirs <= high, claim.id


@pytest.mark.parametrize("experiment", CHAPTER_5)
def test_the_settings_of_chapter_5(experiment):
    batch, curvature, widths, epochs, rates = CHAPTER_5[experiment]
    found = {cell["optimizer"]: cell for cell in cells(experiment)}
    assert {name: float(cell["optimizer.lr"]) for name, cell in found.items()} == rates
    for name in found.keys() - {"sgd"}:
        values = [float(found[name][f"optimizer.{key}"]) for key in ("damping", "boost", "drop", "tau")]
        assert values == [1, 1.01, 0.99, 0.001]
        assert name == "kfac" or found[name]["optimizer.curvature_batch"] == str(curvature)
    (run,) = expand([f"experiment={experiment}", "seed=0", "optimizer=kfac"])
    config, binary = run.config, experiment == "smw/fig-5.3"
    assert (config["batch_size"], config["model"]["widths"], config["model"]["activation"]) == (
        batch,
        widths,
        "sigmoid",
    )
    assert config["dataset"]["standardize"] is True and config["budget"]["epochs"] == epochs
    assert config["optimizer"]["momentum"] == 0 and config["optimizer"]["damping_rule"] == "levenberg_marquardt"
    assert config["loss"] == ("binary_cross_entropy" if binary else "cross_entropy")
    assert config["model"]["target"] == ("binary" if binary else "label")


def configurations(experiment: str) -> list[dict]:
    """Every cell's data set, model and optimizer with all settings, also of the experiment's own groups."""
    conf = files.conf_dir()
    file = yaml.safe_load((conf / "experiment" / f"{experiment}.yaml").read_text())
    inherited = [d for d in file["defaults"] if isinstance(d, str) and d.startswith("/experiment/")]
    if inherited and "hydra" not in file:
        return configurations(inherited[0].removeprefix("/experiment/").removesuffix("@_global_"))
    names = {
        key.removeprefix("override /"): name for d in file["defaults"] if isinstance(d, dict) for key, name in d.items()
    }
    names = {"dataset": "mnist", "model": "mlp"} | names
    sizes = file["hydra"]["sweeper"].get("params", {}).get("model.widths", "")
    found = []
    for cell in cells(experiment):
        config = {
            group: files.read(conf / group / f"{cell.get(group, names.get(group))}.yaml").copy()
            for group in ("dataset", "model", "optimizer")
        }
        for key, value in cell.items():
            group, _, name = key.partition(".")
            if name and group in config:
                config[group][name] = yaml.safe_load(value)
        found += [
            config | {"model": config["model"] | {"widths": widths}} for widths in yaml.safe_load(f"[{sizes}]")
        ] or [config]
    return found


@pytest.mark.parametrize("name", ARTIFACTS)
def test_everything_that_is_shown_or_claimed_is_of_one_cell(name):
    """Of several only where a growth is fitted to them, of none only where a method has smaller widths."""
    report, runs = read(name), configurations(read(name).experiment)
    columns, panels = (report.table.columns if report.table else []), (report.figure.panels if report.figure else [])
    asked = [
        (method, part.where, getattr(part, "growth", None))
        for part in (*columns, *panels)
        for method in (getattr(part, "methods", None) or report.methods)
    ]
    asked += [
        (method, c.test.where, c.test.growth) for c in report.claims for method in (c.test.subject, *c.test.rivals)
    ]
    for method, where, growth in asked:
        fitting = [run for run in runs if matches(run, {**report.methods[method].where, **where})]
        smaller = method == "block_fisher" and [32, 32, 32] not in where.get("model.widths", [[32, 32, 32]])
        if growth:
            assert len(fitting) > 1 or smaller, (method, where)
        else:
            assert len(fitting) == (0 if smaller else 1), (method, where)


def test_every_artifact_has_an_experiment_of_its_name():
    assert (
        {*ARTIFACTS, "tnt/fig-4.1"} >= {name for name in reports() if name.startswith(("tnt/", "smw/"))} >= {*ARTIFACTS}
    )
    assert all(read(name).experiment == name for name in ARTIFACTS)


@pytest.mark.parametrize(
    ("name", "other", "optimizers", "count"),
    [
        ("tnt/fig-4.2", "kbfgs/table-3.3", {"adam", "sgd"}, 6),
        ("tnt/table-4.2", "kbfgs/table-3.4", {"adam", "sgdw"}, 8),
        ("tnt/fig-4.4", "tnt/fig-4.2", {"tnt", "kfac"}, 6),
        ("tnt/fig-4.5", "tnt/table-4.2", {"tnt", "kfac"}, 8),
    ],
)
def test_the_cells_of_two_experiments_that_share_runs(name, other, optimizers, count):
    ours = [cell for cell in cells(name) if cell["optimizer"] in optimizers]
    assert len([cell for cell in ours if cell in cells(other)]) == count


@pytest.mark.parametrize(
    ("experiments", "words"),
    [
        (("tnt/fig-4.2", "kbfgs/table-3.3"), ["dataset=faces", "optimizer=adam"]),
        (("tnt/table-4.2", "tnt/fig-4.3", "kbfgs/table-3.4"), ["dataset=cifar100", "model=resnet32", "optimizer=adam"]),
        (("tnt/fig-4.2", "tnt/fig-4.6"), ["dataset=faces", "optimizer=kfac"]),
    ],
)
def test_the_same_cell_of_two_experiments_is_one_run(experiments, words):
    """At budget=cpu, and by the same budgets at any."""
    found = [expand([f"experiment={e}", "budget=cpu", "seed=0", *words]) for e in experiments]
    assert len(found[0]) == 1 and all([run.id for run in runs] == [found[0][0].id] for runs in found)
    assert all(runs[0].config["budgets"] == found[0][0].config["budgets"] for runs in found)


def test_the_mnist_baselines_are_those_that_anyone_would_run():
    words = ["dataset=mnist", "model=mnist_autoencoder", "batch_size=1000", "budget.epochs=20"]
    plain = expand([*words, "optimizer=sgd", "optimizer.lr=0.003", "optimizer.momentum=0.9"])
    plain += expand([*words, "optimizer=adam", "optimizer.lr=1e-4", "optimizer.eps=1e-4"])
    found = expand(["experiment=tnt/fig-4.2", "budget=cpu", "seed=0", "dataset=mnist", "optimizer=sgd,adam"])
    assert {run.id for run in found} == {run.id for run in plain}


def test_a_look_alike_is_shown_in_the_place_of_its_original():
    words = ["experiment=tnt/fig-4.2", "seed=0", "optimizer=tnt"]
    runs, report = expand([*words, "dataset=mnist,faces_synthetic,curves_synthetic"]), read("tnt/fig-4.2")
    for panel in report.figure.panels:
        assert len([run for run in runs if matches(run.config, {"optimizer": "tnt", **panel.where})]) == 1


def test_the_chapters_make_many_claims():
    assert sum(len(read(name).claims) for name in ARTIFACTS) >= 60
