"""The Python blocks of the README and of the pages on extending sobench run, and what the pages say of them holds."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import SMALL, command, directory, rows

import sobench
from sobench.config import suites
from sobench.system.files import CHECKOUT
from sobench.training.contract import CHECKS, Subject

PAGES = ("README.md", "docs/optimizers.md", "docs/extending.md")


def page_text(page: str) -> str:
    return (CHECKOUT / page).read_text()


def blocks(page: str) -> list[str]:
    """The Python blocks of a page, in order."""
    return re.findall(r"^```python\n(.*?)^```", page_text(page), re.DOTALL | re.MULTILINE)


def module(page: str, first_line: str) -> str:
    """The block that begins with this comment, as the module that it names."""
    (text,) = [block for block in blocks(page) if block.startswith(f"# {first_line}\n")]
    return text


@pytest.fixture
def names(tmp_path, monkeypatch):
    """The names that the blocks of a page share: a model, inputs [N, 4] and labels [N] are there."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    return {"model": model, "inputs": torch.randn(24, 4), "targets": torch.arange(24) % 3}


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page, names):
    assert blocks(page)
    for text in blocks(page):
        exec(compile(text, page, "exec"), names)


def costs() -> list[tuple[list[str], int]]:
    """The rows of docs/optimizers.md's table of costs: the questions, and passes of the batch."""
    text = (
        (CHECKOUT / "docs/optimizers.md").read_text().partition("| questions, in this order |")[2].partition("\n\n")[0]
    )
    cells = [line.strip("|").split("|") for line in text.splitlines()[2:]]
    return [(re.findall(r"`([^`]+)`", questions), int(cost)) for questions, cost, _ in cells]


@pytest.mark.parametrize(
    ("questions", "cost"), costs(), ids=lambda value: "; ".join(value) if isinstance(value, list) else ""
)
def test_questions_cost_what_the_page_says(questions, cost, names):
    f = sobench.Objective(names["model"], sobench.losses.CrossEntropy(), (names["inputs"], names["targets"]), l2=0.1)
    lines, indent = [], ""
    for question in questions:
        lines.append(indent + question)
        indent = "    " if question.startswith("with ") else indent
    exec("\n".join(lines), {"f": f})
    assert f.cost.passes == cost * len(f)


def single_costs() -> list[tuple[str, str, set[str]]]:
    """(call, cost, requires) of the table of values and derivatives."""
    text = (CHECKOUT / "docs/optimizers.md").read_text().partition("### Values and derivatives")[2].partition("###")[0]
    rows_ = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| `")
    ]
    return [(row[0], row[4], set(re.findall(r"`(\w+)`", row[2]))) for row in rows_]


def test_every_oracle_costs_and_requires_what_the_page_says(names):
    """With S = 4 groups (the tensors), C = 3 outputs, N = 24 samples, and no BatchNorm."""
    from sobench.objective import complex_hessian, make_partition

    seen = 0
    for call, cost, requires in single_costs():
        f = sobench.Objective(
            names["model"], sobench.losses.CrossEntropy(), (names["inputs"], names["targets"]), l2=0.1
        )
        theta, h, p = f.space.get(), 1e-12, f.space.get()
        scope = dict(f=f, theta=theta, h=h, v=p, p=p, u=p, partition=make_partition(f.space, "canonical"))
        expression = re.search(r"`([^`]+)`", call)[1].replace("at=None", "")
        if expression.startswith("complex_hessian"):
            expression += " @ v"
        if expression == "f.penalty()" or ".dense()" in expression:
            continue
        eval(expression, scope | {"complex_hessian": complex_hessian})
        expected = {"3 + 2 S": 11, "1 + 2 C": 7}.get(cost.partition(";")[0]) or int(re.match(r"\d+", cost)[0])
        assert f.cost.passes == expected * len(f), call
        assert f.cost.used == requires, call
        seen += 1
    assert seen >= 11


@pytest.mark.parametrize(
    ("page", "file", "entry"),
    [
        ("README.md", "truncated.py", "truncated = mypackage.truncated:TruncatedGaussNewton"),
        (
            "docs/optimizers.md",
            "diagonal_fisher.py",
            "diagonal_fisher = mypackage.diagonal_fisher:DiagonalFisher",
        ),
    ],
)
def test_the_optimizers_of_the_pages_keep_the_contract(page, file, entry, plugins, workplace):
    name, _, target = entry.partition(" = ")
    plugins("my-package", {"mypackage/__init__.py": "", f"mypackage/{file}": module(page, file)}, {name: target})
    for check in CHECKS.values():
        check(Subject(name))


@pytest.fixture
def files_of_the_page(workplace):
    """The parts of docs/extending.md as files in the folder where commands run."""
    for text in blocks("docs/extending.md"):
        if named := re.match(r"# (\w+\.py)\n", text):
            Path(named[1]).write_text(text)


def test_the_loss_of_the_page_trains(files_of_the_page):
    done = command("run", *SMALL, "loss=log_cosh.py:LogCosh", "optimizer=hf_gauss_newton")
    assert done.code == 0, done
    assert rows(directory(), "eval")[-1]["train_loss"] > 0


def test_the_metric_of_the_page_is_recorded(files_of_the_page):
    done = command("run", *SMALL, "metrics=[macro_f1.py:macro_f1]")
    assert done.code == 0, done
    assert 0 <= rows(directory(), "eval")[-1]["test_macro_f1"] <= 1


def test_the_model_and_the_data_set_of_the_page_run(files_of_the_page):
    words = [
        "threads=1",
        "budget=smoke",
        "batch_size=50",
        "model=skip.py:skip",
        "dataset=rings.py:rings",
        "dataset.noise=0.3",
    ]
    done = command("run", "-m", *words, "model.width=5,10", "optimizer=sgd,kfac")
    assert done.code == 0 and done.out.splitlines()[-1] == "4 runs: 4 done", done


def write_yaml(page: str) -> None:
    """The YAML blocks of a page that name a file of conf/, as these files in the working folder."""
    for text in re.findall(r"^```yaml\n# (conf/\S+\n.*?)^```", page_text(page), re.DOTALL | re.MULTILINE):
        path, _, contents = text.partition("\n")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(contents)


def test_the_folder_of_the_page_is_searched(files_of_the_page, workplace):
    write_yaml("docs/extending.md")
    assert len(list(Path("conf").rglob("*.yaml"))) == 3
    (listed,) = [line for line in command("list", "experiments").out.splitlines() if line.startswith("mine ")]
    assert "Skip connections on two rings" in listed and listed.endswith(str(workplace / "conf"))
    assert "optimizer.lr" in command("tune", "mine").out and Path("conf/tuned/mine.yaml").is_file()
    done = command("run", "experiment=mine")
    assert done.code == 0 and done.out.splitlines()[-1] == "4 runs: 4 done", done
    for words in (["status", "mine"], ["report", "mine/curves"], ["run", *SMALL, "optimizer=slow_sgd"]):
        done = command(*words)
        assert done.code == 0 and not done.err, done
    (table,) = Path("reports/mine/curves").glob("*/table.csv")
    assert "K-FAC" in table.read_text()


def test_the_suite_of_the_page_has_its_problems(files_of_the_page, workplace):
    for page in ("docs/extending.md", "docs/comparison.md"):
        write_yaml(page)
    mlp, rings = suites.read("mine").problems
    assert (mlp.experiment, mlp.target, rings.target) == ("suite/digits-mlp", 0.12, None)
    (job,) = rings.jobs(["kfac"], [0])
    assert job == [
        "experiment=mine",
        "budget=cpu",
        "batch_size=100",
        "optimizer=kfac",
        "optimizer.lr=0.01",
        "seed=0",
    ]


def test_the_data_set_of_the_page_trains(names, workplace):
    for text in blocks("docs/extending.md"):
        exec(compile(text, "docs/extending.md", "exec"), names)
    assert np.load("rings.npz")["x_train"].shape == (200, 2)
    done = command("run", *SMALL, "dataset=npz", "dataset.path=rings.npz", "batch_size=50")
    assert done.code == 0, done


def test_the_schedule_of_the_page_warms_up(files_of_the_page):
    """The first of its five epochs has a fifth of the learning rate, so that it is the epoch of lr / 5."""
    words = ["threads=1", "budget.epochs=1", "batch_size=100", "model=linear"]
    assert command("run", *words, "schedule=warm_up.py:warm_up", "optimizer.lr=0.5", "runs=warm").code == 0
    assert command("run", *words, "optimizer.lr=0.1", "runs=plain").code == 0
    warm, plain = (rows(directory(Path(folder)), "eval")[-1]["train_loss"] for folder in ("warm", "plain"))
    assert warm == pytest.approx(plain, rel=1e-6)


def test_the_instrument_of_the_page_measures_and_changes_nothing(files_of_the_page):
    command("run", *SMALL, "runs=without")
    done = command("run", *SMALL, "instrument=gradient_norm.py:GradientNorm")
    assert done.code == 0, done
    row, plain = rows(directory(), "train")[0], rows(directory(Path("without")), "train")[0]
    assert row["gradient_norm"] > 0 and row["loss"] == plain["loss"] and row["work"] == plain["work"]


def test_the_logger_of_the_page_writes_its_file(files_of_the_page):
    done = command("run", *SMALL, "logger=[csv,best.py:Best]")
    assert done.code == 0 and not done.err, done
    assert (directory() / "best.json").is_file() and (directory() / "metrics.csv").is_file()
