"""Chapters 2 and 3: the settings of every cell and the published values, each against a second copy of the
thesis's table; and no claim asks more than the tables show."""

import re

import pytest
import yaml

from sobench.config import files
from sobench.report import read, reports

HYPERPARAMETERS = {  # experiment -> (methods in order of its cells, the table's rows), by data set or (data set, model)
    "kbfgs20/fig-2.2": """
        | kbfgs20 | kbfgs20_l | kfac | adam | rmsprop | sgd
        mnist | (0.3, 0.3) | (0.3, 0.3) | (1, 3) | (1e-4, 1e-4) | (1e-4, 1e-4) | (0.03, -)
        faces | (0.1, 0.1) | (0.1, 0.1) | (0.1, 0.1) | (1e-4, 1e-4) | (1e-4, 1e-4) | (0.01, -)
        curves | (0.1, 0.01) | (0.3, 0.3) | (0.3, 0.3) | (1e-3, 1e-3) | (1e-3, 1e-3) | (0.1, -)""",
    "kbfgs20/fig-2.4": """
        | kbfgs20 | kbfgs20_l | kfac | adam | rmsprop | sgd
        mnist | (0.1, 0.3) | (0.1, 0.3) | (0.1, 0.3) | (1e-4, 1e-4) | (1e-4, 1e-4) | (0.03, -)""",
    "kbfgs20/fig-2.5": """
        | kbfgs20 | kbfgs20_l | kfac | adam | rmsprop | sgd
        faces | (0.03, 0.03) | (0.03, 0.3) | (0.03, 0.3) | (3e-5, 1e-4) | (3e-5, 1e-4) | (0.01, -)""",
    "kbfgs20/fig-2.6": """
        | kbfgs20 | kbfgs20_l | kfac | adam | rmsprop | sgd
        curves | (0.3, 1) | (0.3, 0.3) | (0.03, 0.1) | (3e-4, 1e-4) | (3e-3, 1e-4) | (0.03, -)""",
    "kbfgs/table-3.3": """
        | kbfgs | kbfgs T=20 | kbfgs_l | kbfgs20 | kbfgs20_l | kfac | adam | sgd
        mnist | (0.03, 0.3) | (0.3, 30) | (0.03, 0.3) | (0.01, 0.1) | (0.003, 0.1) | (0.03, 1) | (1e-4, 1e-4) | (0.003, -)
        faces | (0.03, 1) | (0.03, 3) | (0.03, 1) | (0.01, 0.3) | (0.01, 0.3) | (0.01, 0.1) | (1e-4, 1e-4) | (0.001, -)
        curves | (0.03, 0.3) | (0.3, 30) | (0.1, 3) | (0.01, 0.03) | (0.003, 0.03) | (0.3, 30) | (1e-3, 1e-3) | (0.003, -)""",  # noqa: E501 (a table)
    "kbfgs/table-3.4": """
        | kbfgs | kbfgs_l | kfac | adam | sgdw
        cifar10 vgg16 | (30, 1e-5, 1e4) | (1, 1e-3, 100) | (3e-4, 1, 0.001) | (0.003, 0.1, 0.1) | (0.003, 0.1, -)
        cifar10 resnet32 | (100, 1e-5, 1e3) | (1e3, 1e-6, 1e4) | (0.01, 0.1, 0.1) | (0.003, 0.1, 0.01) | (0.03, 0.01, -)
        cifar100 vgg16 | (0.1, 0.01, 10) | (0.3, 0.001, 100) | (0.01, 0.1, 1) | (3e-4, 1, 0.01) | (0.003, 0.1, -)
        cifar100 resnet32 | (1e3, 1e-6, 1e4) | (10, 1e-4, 100) | (0.1, 0.01, 0.1) | (0.01, 0.1, 0.01) | (0.03, 0.01, -)""",  # noqa: E501 (a table)
    "kbfgs/table-3.9": """
        | kbfgs | kbfgs_l | kfac | adam | sgdw
        cifar10 resnet32_4 | (1e3, 1e-6, 1e4) | (1e3, 1e-6, 1e4) | (0.1, 0.01, 1) | (0.03, 0.01, 0.1) | (0.03, 0.01, -)
        cifar100 resnet32_4 | (100, 1e-5, 1e3) | (1e3, 1e-6, 1e4) | (0.01, 0.1, 0.01) | (0.003, 0.1, 0.01) | (0.01, 0.1, -)
        cifar10 resnet32 | (100, 1e-5, 1e3) | (1e3, 1e-6, 1e4) | (0.01, 0.1, 0.1) | (0.003, 0.1, 0.01) | (0.03, 0.01, -)
        cifar100 resnet32 | (1e3, 1e-6, 1e4) | (10, 1e-4, 100) | (0.1, 0.01, 0.1) | (0.01, 0.1, 0.01) | (0.03, 0.01, -)""",  # noqa: E501 (a table)
}
PUBLISHED = {  # report -> the table, a method a row, as printed
    "kbfgs/table-3.3": """
        kbfgs 51.60 5.00 55.46
        kbfgs_t20 52.01 4.62 55.06
        kbfgs_l 51.53 4.83 55.31
        kbfgs20 52.38 5.46 56.00
        kbfgs20_l 54.27 4.92 55.94
        kfac 51.24 4.71 55.12
        adam 52.76 5.33 55.24
        sgd 54.75 6.47 55.97""",
    "kbfgs/table-3.4": """
        kbfgs 94.28 93.45 75.65 71.46
        kbfgs_l 94.24 93.38 75.43 70.98
        kfac 94.39 93.31 76.21 71.14
        adam 94.28 93.35 75.64 70.35
        sgd 94.14 93.13 75.41 70.18""",
    "kbfgs/table-3.8": """
        kbfgs 51.60 5.00 55.46
        one_off 51.92 5.39 55.86
        two_off 51.45 5.26 55.88
        kbfgs20 52.38 5.46 56.00""",
    "kbfgs/table-3.9": """
        kbfgs 95.61 79.41
        kbfgs_l 95.74 79.18
        kfac 95.65 79.45
        adam 95.64 78.03
        sgd 95.59 78.24
        kbfgs_32 93.45 71.46
        kbfgs_l_32 93.38 70.98
        kfac_32 93.31 71.14
        adam_32 93.35 70.35
        sgd_32 93.13 70.18""",
    "kbfgs20/authors-log": """
        kbfgs20 169.0 68.0 59.8 56.3 53.8 52.7
        kbfgs20_mean 171.0 66.1 59.0 55.9
        tnt 191.2 105.5 75.9 63.2 56.4 54.2
        sgd 197.6 169.5 125.7 98.6 75.6 65.7""",
}
ARTIFACTS = {
    "kbfgs20": ["authors-log", "beta2", "stable", *(f"fig-2.{i}" for i in range(1, 8)), "table-2.1", "table-2.2"],
    "kbfgs": ["kfac-split", *(f"fig-3.{i}" for i in range(1, 10)), *(f"table-3.{i}" for i in (1, 2, 3, 4, 8, 9))],
}
TABLE_RMSPROP = 10
"""The thesis's learning rate of RMSprop over torch's: see conf/experiment/kbfgs20/fig-2.2.yaml."""


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip("\n").splitlines()]


def cells(experiment: str) -> list[dict[str, str]]:
    file = yaml.safe_load((files.conf_dir() / "experiment" / f"{experiment}.yaml").read_text())
    return [dict(setting.split("=", 1) for setting in cell) for cell in file["hydra"]["sweeper"]["cells"]]


def settings(cell: dict[str, str]) -> tuple[float, ...]:
    """(learning rate, weight decay if any, damping if any), in the order of the thesis's tables."""
    scale = TABLE_RMSPROP if cell["optimizer"] == "rmsprop" else 1
    damping = cell.get("optimizer.damping", cell.get("optimizer.eps"))
    found = (scale * float(cell["optimizer.lr"]), cell.get("optimizer.weight_decay"), damping)
    return tuple(pytest.approx(float(value), rel=1e-12) for value in found if value is not None)


@pytest.mark.parametrize("experiment", HYPERPARAMETERS)
def test_the_settings_are_those_of_the_table(experiment):
    head, *rows = lines(HYPERPARAMETERS[experiment])
    methods, found = [name.strip() for name in head.split("|")[1:]], cells(experiment)
    for row in rows:
        problem, *values = (part.strip() for part in row.split("|"))
        for method, value in zip(methods, values, strict=True):
            cell = found.pop(0)
            dataset, _, model = problem.partition(" ")
            assert (cell["dataset"], cell["model"]) == (dataset, model or f"{dataset}_autoencoder")
            assert cell["optimizer"] == method.removesuffix(" T=20")
            period = "20" if "T=20" in method or (model and method.startswith("kbfgs")) else None
            assert cell.get("optimizer.curvature_period") == period
            assert tuple(float(v) for v in re.findall(r"[\d.e-]*\d[\d.e-]*", value)) == settings(cell), (
                problem,
                method,
            )
    assert not found


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_numbers(name):
    columns = read(name).table.columns
    rows = [line.split() for line in lines(PUBLISHED[name])]
    assert list(read(name).methods) == [method for method, *_ in rows]
    for method, *values in rows:
        scale = 100 if columns[0].metric == "test_accuracy" else 1
        assert [scale * c.published[method] for c in columns if method in c.published] == pytest.approx(
            [float(v) for v in values], rel=1e-12
        )


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_numbers_agree_with_the_readings(name):
    """What a claim is read as is true of the thesis's own numbers."""
    report = read(name)
    for claim in report.claims:
        test, sign = claim.test, 1 if claim.test.better == "lower" else -1
        fitting = [
            column
            for column in report.table.columns
            if column.metric == test.metric
            and (column.at == test.at if name.endswith("log") else _same_data(column.where, test.where))
        ]
        (published,) = (column.published for column in fitting)
        if test.kind == "compare":
            assert all(sign * published[test.subject] < sign * published[rival] for rival in test.rivals), claim.id
        else:
            shown = published[test.subject] / (published[test.rivals[0]] if test.rivals else 1)
            low, high = test.within or (test.at_least or 0, test.at_most or float("inf"))
            assert low <= shown <= high, claim.id


def _same_data(column: dict, test: dict) -> bool:
    """Whether a column and a claim are of one problem; a column of FACES or CURVES has room for its look-alike."""
    asked = column["dataset"] if isinstance(column["dataset"], list) else [column["dataset"]]
    return test["dataset"] == asked[0] and ("model" not in test or test["model"] == column["model"])


@pytest.mark.parametrize("paper", ARTIFACTS)
def test_every_artifact_has_an_experiment_of_its_name(paper):
    """authors-log, beta2, stable and kfac-split are no artifacts of the thesis: they test what its text says."""
    assert sorted(f"{paper}/{name}" for name in ARTIFACTS[paper]) == [
        name for name in reports() if name.split("/")[0] == paper
    ]
    assert all(read(f"{paper}/{name}").experiment == f"{paper}/{name}" for name in ARTIFACTS[paper])
