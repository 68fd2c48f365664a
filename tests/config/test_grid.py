"""From the words of a command line to runs."""

import hashlib

import pytest
from own_conf import add_to_conf

from sobench.config import files, grid
from sobench.errors import UsageError

EXPERIMENT = """
# @package _global_
# a test's
budgets:
  smoke: {steps: 2, dense_steps: 1}
model: {widths: [4]}
hydra:
  mode: MULTIRUN
  sweeper:
    params: {seed: range(2), l2: "0,0.5"}
    cells:
      - [optimizer=sgd, optimizer.lr=0.3]
      - [optimizer=adam, optimizer.lr=0.01]
      - [optimizer=newton, optimizer.lr=1, "budget.steps=${budget.dense_steps}"]
"""


@pytest.fixture
def experiment(tmp_path, monkeypatch) -> str:
    """An experiment test/cells in a folder of the user's own."""
    add_to_conf(tmp_path / "conf", monkeypatch, {"experiment/test/cells.yaml": EXPERIMENT})
    return "experiment=test/cells"


def runs(*words: str) -> list[tuple]:
    return [
        (r.label("optimizer"), r.config["optimizer"]["lr"], r.config["l2"], r.config["budget"]["steps"], r.seed)
        for r in grid.expand(words)
    ]


def test_one_run():
    (run,) = grid.expand([])
    assert (run.seed, run.label("optimizer"), run.overrides) == (0, "sgd", ())
    assert run.slug == f"digits_mlp_sgd_{run.cell}/seed-0"


def test_values_are_crossed_in_order_and_seeds_come_last_as_given():
    found = grid.expand(["optimizer=sgd,adam", "seed=3,1"])
    assert [(r.label("optimizer"), r.seed) for r in found] == [("sgd", 3), ("sgd", 1), ("adam", 3), ("adam", 1)]


def test_sweep_syntax():
    assert [r.seed for r in grid.expand(["seed=range(3)"])] == [0, 1, 2]
    assert [r.config["optimizer"]["lr"] for r in grid.expand(["optimizer.lr=choice(0.1,0.2)"])] == [0.1, 0.2]
    assert [r.config["model"]["widths"] for r in grid.expand(["model.widths=[4],[4,5]"])] == [[4], [4, 5]]


def test_a_run_asked_for_twice_is_made_once():
    assert len(grid.expand(["seed=0,0,1"])) == 2
    assert len(grid.expand(["optimizer.lr=1,1.0,1e0"])) == 1


def test_overrides_make_the_same_run_again():
    for run in grid.expand(["optimizer=sgd,hf_newton", "seed=0,4", "l2=0.5"]):
        (again,) = grid.expand(run.overrides)
        assert again.id == run.id


def test_cells_are_zipped_and_parameters_crossed(experiment):
    found = runs(experiment, "budget=smoke", "seed=0,1")
    assert len(found) == 3 * 2 * 2 == len(set(found))
    assert {row[:2] for row in found} == {("sgd", 0.3), ("adam", 0.01), ("newton", 1)}
    assert {row[3] for row in found if row[0] == "newton"} == {1} and {
        row[3] for row in found if row[0] != "newton"
    } == {2}


def test_a_smoke_has_every_cell_with_one_seed_and_one_value_of_each_hyperparameter(experiment):
    file = files.find("experiment/test/cells")
    assert file
    file.write_text(EXPERIMENT.replace('l2: "0,0.5"', 'l2: "0,0.5", optimizer.lr: "0.2,0.1", optimizer: "sgd,adam"'))
    every = {
        (name, lr, l2, seed) for name in ("sgd", "adam") for lr in (0.2, 0.1) for l2 in (0, 0.5) for seed in (0, 1)
    }
    smoke = {(name, 0.2, l2, 0) for name in ("sgd", "adam") for l2 in (0, 0.5)}

    def found(*words: str) -> set[tuple]:
        return {(name, lr, l2, seed) for name, lr, l2, _, seed in runs(experiment, *words)}

    assert found("budget=smoke") == smoke
    assert found() == found("budget=smoke", "budget.grid=whole") == found("budget=cpu", "budget.steps=1") == every
    assert found("budget.grid=first") == smoke
    # What the command line names is taken as it is, and so is an explicit list of runs.
    assert found("budget=smoke", "seed=1,0", "optimizer=sgd") == {
        ("sgd", 0.2, l2, s) for l2 in (0, 0.5) for s in (0, 1)
    }
    assert found("budget=smoke", "optimizer.lr=7,8", "l2=0") == {
        (n, lr, 0, 0) for n in ("sgd", "adam") for lr in (7, 8)
    }


def test_a_group_selects_among_the_cells(experiment):
    assert {row[0] for row in runs(experiment, "optimizer=adam")} == {"adam"}
    assert {row[0] for row in runs(experiment, "optimizer=adam,sgd", "seed=0")} == {"adam", "sgd"}
    with pytest.raises(UsageError, match="optimizer: got 'lbfgs', allowed in this experiment: adam, newton, sgd"):
        runs(experiment, "optimizer=lbfgs")


def test_the_command_line_selects_among_what_an_experiment_selects(experiment):
    file = files.find("experiment/test/cells")
    file.write_text(EXPERIMENT.replace('l2: "0,0.5"', 'optimizer: "sgd,adam"'))
    assert {row[0] for row in runs(experiment)} == {"sgd", "adam"}
    assert {row[0] for row in runs(experiment, "optimizer=sgd")} == {"sgd"}
    with pytest.raises(UsageError, match="optimizer: got 'newton', allowed in this experiment: adam, sgd"):
        runs(experiment, "optimizer=newton")


def test_a_look_alike_takes_the_cells_of_its_original(experiment):
    file = files.find("experiment/test/cells")
    of_two = EXPERIMENT.replace("[optimizer=sgd", "[dataset=curves, optimizer=sgd")
    file.write_text(of_two.replace("[optimizer=adam", "[dataset=mnist, optimizer=adam"))

    def names(word: str) -> set[tuple[str, str]]:
        words = [experiment, word, "optimizer=sgd,adam", "l2=0", "loss=squared_error", "model.target=input"]
        return {(run.label("dataset"), run.label("optimizer")) for run in grid.expand(words)}

    assert names("dataset=curves_synthetic") == {("curves_synthetic", "sgd")}
    assert names("dataset=mnist,curves_synthetic") == {("mnist", "adam"), ("curves_synthetic", "sgd")}
    with pytest.raises(UsageError, match="dataset: got 'faces_synthetic', allowed in this experiment: curves, mnist"):
        names("dataset=faces_synthetic")


def test_a_setting_applies_to_all_cells(experiment):
    assert {row[1] for row in runs(experiment, "optimizer.lr=0.5")} == {0.5}
    assert {row[3] for row in runs(experiment, "budget.steps=7")} == {7}
    assert {row[4] for row in runs(experiment, "seed=5")} == {5}
    assert {(row[1], row[2]) for row in runs(experiment, "optimizer=sgd", "l2=1", "optimizer.lr=0.1,0.2")} == {
        (0.1, 1),
        (0.2, 1),
    }


def test_a_setting_that_only_the_selected_cells_have(experiment):
    assert len(grid.expand([experiment, "optimizer=sgd", "optimizer.momentum=0.9", "seed=0", "l2=0"])) == 1
    assert len(grid.expand([experiment, "optimizer=adam", "optimizer.betas=[0.5,0.9]", "seed=0", "l2=0"])) == 1
    with pytest.raises(UsageError, match="optimizer.momentum: no such key"):
        grid.expand([experiment, "optimizer=sgd,adam", "optimizer.momentum=0.9"])


def test_the_experiment_that_asks_is_no_part_of_the_run(experiment):
    alone = grid.expand(["model.widths=[4]", "optimizer=sgd", "optimizer.lr=0.3", "budget=smoke", "seed=1", "l2=0"])
    asked = {run.id for run in grid.expand([experiment, "budget=smoke", "seed=0,1"])}
    assert {run.id for run in alone} <= asked


def test_a_sweeper_setting_on_the_command_line(experiment):
    found = grid.expand([experiment, 'hydra.sweeper.params.seed="7,8"', "l2=0", "optimizer=sgd"])
    assert [run.seed for run in found] == [7, 8] and not any("hydra" in word for run in found for word in run.overrides)


def test_an_experiments_own_mistake_is_named(experiment):
    file = files.find("experiment/test/cells")
    file.write_text(EXPERIMENT.replace("steps: 2,", "step: 2,"))
    with pytest.raises(UsageError, match="budgets.smoke.step: no such key.*did you mean 'steps'"):
        grid.expand([experiment, "budget=smoke"])
    file.write_text(EXPERIMENT.replace("optimizer.lr=0.3", "optimizer.rate=0.3"))
    with pytest.raises(UsageError, match="optimizer.rate: no such key"):
        grid.expand([experiment])


@pytest.mark.parametrize(
    "words, expected",
    [
        (["optimizer=sgd", "optimizer.lr=1"], None),
        (["optimizer=sgd,adam", "optimizer.lr=1"], ["optimizer=sgd,adam", "optimizer.lr=choice(1)"]),
        (["optimizer=choice(sgd,adam)", "optimizer.lr=1,2", "model.widths=[1]"], None),
        (
            ["optimizer=rmsprop,adam", "optimizer.eps=1e-3", "seed=0,1"],
            ["optimizer=rmsprop,adam", "optimizer.eps=choice(1e-3)", "seed=0,1"],
        ),
        (
            ["-m", "model=mlp,autoencoder", "model.widths=[4,5]"],
            ["-m", "model=mlp,autoencoder", "model.widths=choice([4,5])"],
        ),
    ],
)
def test_settings_of_a_swept_group_are_left_to_the_runs(words, expected):
    assert grid.for_hydra(words) == (expected or words)


def test_a_file_of_the_users_own_is_what_it_holds(tmp_path):
    """Another content is another cell; another place, or the checksum given by hand, is not."""
    import numpy as np

    def save(name: str, value: float):
        x, y = np.full((4, 2), value, np.float32), np.arange(4) % 2
        np.savez(tmp_path / name, x_train=x, y_train=y, x_test=x, y_test=y)
        return tmp_path / name

    def cell(path, *more: str) -> str:
        return grid.expand(["dataset=npz", f"dataset.path={path}", "model=linear", *more])[0].cell

    one, same, other = save("one.npz", 1.0), save("same.npz", 1.0), save("other.npz", 2.0)
    assert cell(one) == cell(same) != cell(other)
    digest = hashlib.sha256(one.read_bytes()).hexdigest()
    assert cell(one, f"dataset.sha256={digest}") == cell(one)
    before = cell(one)
    save("one.npz", 3.0)
    assert cell(one) != before


def test_a_setting_of_a_group_that_cells_choose_is_left_to_the_runs():
    """The experiment's first model has no such setting, the one that its cells have for texts has."""
    words = ["experiment=kernelsgd/table-3", "dataset=imdb", "model.hidden=4"]
    assert grid.for_hydra(words) == [*words[:2], "model.hidden=choice(4)"]
    assert grid.for_hydra(["dataset=mnist", "model.widths=[4]"]) == ["dataset=mnist", "model.widths=[4]"]
