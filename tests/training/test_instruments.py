"""Instruments: the run is bit for bit the same with them, and their readings equal separately computed values."""

import copy

import pytest
import torch
from harness import command, directory, rows, run_with
from torch import nn
from watched import Record, Time

from sobench.config import files, identity, registry
from sobench.config.validation import validate
from sobench.errors import Unsupported, UsageError
from sobench.training import snapshot
from sobench.training.trainer import Trainer

SETTINGS = {name: files.group_defaults("optimizer", name) for name in ("sgd", "adam", "kfac", "newton")}
COMPANIONS = {
    "kfac": SETTINGS["kfac"],
    "adam": SETTINGS["adam"] | {"lr": 1.0},
    "sgd": SETTINGS["sgd"] | {"momentum": 0.9},
}


def settings(own="kfac", companions=COMPANIONS, **changes):
    instrument = (
        {"name": "none"} if companions is None else {"name": "directions", "companions": copy.deepcopy(companions)}
    )
    own_settings = {"instrument": instrument, "optimizer": SETTINGS[own]}
    return own_settings | {"log__every": 1, "budget__steps": 6, "dtype": "float64"} | changes


def trained(*, steps=None, trainer=None, **changes):
    trainer, record = trainer or Trainer(run_with(**settings(**changes))), Record()
    trainer.budget.limit = steps or trainer.budget.limit
    trainer.train(record, lambda _: None, lambda *_: None)
    return trainer, record


def bits(trainer):
    """Everything in the model and in torch that a step may change."""
    model = trainer.problem.model
    return [*(p.detach() for p in model.parameters()), *model.buffers(), torch.get_rng_state()]


class Drawing(torch.optim.SGD):
    """A badly behaved companion: it draws from every random state, changes buffers, and uses many oracles."""

    requires = {"closure", "value_and_grad", "sampled", "independent_batch", "batches"}

    def warm_start(self, f):
        for g in f.batches():
            g()

    def step(self, f):
        torch.rand(3), f.generator("labels"), f.independent_batch()(), f.sampled().value_and_grad()
        loss = super().step(f)
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.add_(torch.randn_like(p))
                p.grad.fill_(float("nan"))
        return loss


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Dropout(0.2), nn.Linear(5, 10)
        )


@pytest.fixture
def rough(monkeypatch):
    """A model with BatchNorm and dropout; adam is replaced by a badly behaved optimizer."""
    true = registry.load
    theirs = {("models", "mlp"): lambda *_, **__: Normed(), ("optimizers", "adam"): Drawing}
    monkeypatch.setattr(registry, "load", lambda kind, name: theirs.get((kind, name)) or true(kind, name))
    return {"kfac": SETTINGS["kfac"], "drawing": {"name": "adam", "lr": 0.1, "momentum": 0.9}}


@pytest.mark.parametrize("own", ["kfac", "sgd"])
def test_the_trajectory_is_the_same_bits_with_companions_and_without(rough, own):
    runs, found = [], []
    for companions in (rough, None):
        runs.append(trained(own=own, companions=companions))
        found.append(bits(runs[-1][0]))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    kept = lambda row: {k: v for k, v in row.items() if not k.startswith("cosine/") and "seconds" not in k}
    with_, without = ([kept(row) for row in record] for _, record in runs)
    assert with_ == without  # losses, metrics and counters
    grads = [[p.grad for p in trainer.problem.model.parameters()] for trainer, _ in runs]
    for a, b in zip(*grads):
        assert (a is None and b is None) or torch.equal(a, b)


def test_only_the_run_is_on_the_clock(monkeypatch):
    time = Time(monkeypatch)
    time.after(monkeypatch, registry.load("optimizers", "kfac"), "step", 1.0)
    time.after(monkeypatch, registry.load("optimizers", "kfac"), "warm_start", 10.0)
    time.after(monkeypatch, torch.optim.Adam, "step", 1000.0)
    trainer, record = trained(companions={"adam": SETTINGS["adam"]})
    assert [row["seconds"] for row in record if row["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert trainer.warm_start_seconds == 10 and time.now > 6000


# Readings


def layers(trainer, vector):
    """The weights and bias of each layer, joined, from a flat vector."""
    parts = trainer.problem._objective.space.unflatten(vector)
    return [torch.cat([w.flatten(), b]) for w, b in zip(parts[::2], parts[1::2], strict=True)]


def test_the_cosines_are_those_of_steps_made_apart():
    """A companion alone: along the trajectory of another optimizer its step is measured and undone."""
    trainer, record = trained(own="kfac")
    apart = {label: Trainer(run_with(**settings(companions=None, optimizer=COMPANIONS[label]))) for label in COMPANIONS}
    own = Trainer(run_with(**settings(companions=None)))
    moves = {}
    for one in (own, *apart.values()):
        if hasattr(one.optimizer, "warm_start"):
            one.optimizer.warm_start(one.problem.first_objective())
    for row, (_, f), *theirs in zip(
        [r for r in record if r["kind"] == "train"],
        own.problem.objectives(),
        *(one.problem.objectives() for one in apart.values()),
    ):
        before = f.space.get()
        own.optimizer.step(f)
        step = layers(own, f.space.get() - before)
        for label, (_, g) in zip(apart, theirs):
            g.space.assign_(before)
            apart[label].optimizer.step(g)
            moves[label] = layers(own, g.space.get() - before)
            for i, (a, b) in enumerate(zip(moves[label], step), 1):
                assert row[f"cosine/{label}/{i}"] == pytest.approx(
                    torch.cosine_similarity(a, b, dim=0).item(), abs=1e-9
                )
    assert {k for k in row if k.startswith("cosine")} == {f"cosine/{label}/{i}" for label in COMPANIONS for i in (1, 2)}
    assert row["step"] == 6


def test_a_companion_of_the_same_settings_goes_the_same_way():
    _, record = trained(companions={"same": SETTINGS["kfac"], "scaled": SETTINGS["kfac"] | {"lr": 3.0}})
    for row in record:
        if row["kind"] == "train":
            assert [row[f"cosine/{label}/{i}"] for label in ("same", "scaled") for i in (1, 2)] == pytest.approx(
                [1.0] * 4
            )


def test_a_layer_that_is_not_moved_has_no_cosine():
    trainer = Trainer(run_with(**settings(companions={"sgd": SETTINGS["sgd"]})))
    trainer.problem.train[0].zero_()
    with torch.no_grad():
        for p in trainer.problem.model.parameters():
            p.zero_()
    _, record = trained(trainer=trainer, steps=1)
    row = next(row for row in record if row["kind"] == "train")
    assert row["cosine/sgd/1"] != row["cosine/sgd/1"] and row["cosine/sgd/2"] > 0


def test_a_row_has_the_reading_of_its_last_step():
    dense, sparse = (trained(log__every=every)[1] for every in (1, 3))
    by_step = {row["step"]: row for row in dense if row["kind"] == "train"}
    found = [row for row in sparse if row["kind"] == "train"]
    assert [row["step"] for row in found] == [3, 6]
    for row in found:
        assert row["cosine/adam/1"] == by_step[row["step"]]["cosine/adam/1"]
    assert not any("cosine/adam/1" in row for row in sparse if row["kind"] == "eval")


def test_resume():
    """The checkpoint contains the states of the companions."""
    _, straight = trained()
    first, start = trained(steps=3)
    second = Trainer(run_with(**settings()))
    snapshot.restore(second, copy.deepcopy(snapshot.state(first)))
    _, rest = trained(trainer=second)
    readings = lambda record: [
        [v for k, v in row.items() if k.startswith("cosine")] for row in record if row["kind"] == "train"
    ]
    assert readings(start) + readings(rest) == readings(straight)


# Choosing one


def test_every_instrument_has_a_file():
    assert set(registry.entries("instruments")) == set(files.members("instrument"))


def test_a_companion_that_the_problem_cannot_serve():
    with pytest.raises(Unsupported, match="samples labels, and loss=squared_hinge"):
        Trainer(run_with(**settings(own="sgd", loss="squared_hinge")))


def test_without_an_instrument_a_run_is_what_it_was_before_there_were_any():
    base = run_with(**settings(companions=None))
    assert "instrument" not in identity.identity(base.config)
    other = run_with(**settings())
    assert (
        other.cell != base.cell
        and identity.identity(other.config)["instrument"]["companions"].keys() == COMPANIONS.keys()
    )


@pytest.mark.parametrize(
    "companions, message",
    [
        ({"a": {"name": "adma"}}, r"^optimizer: got 'adma', did you mean 'adamax', 'adam'"),
        (
            {"a": {"lr": 1.0}},
            r"^instrument\.companions\.a: got {'lr': 1.0}, allowed: \+optimizer@instrument\.companions\.a=NAME",
        ),
        ({"a": SETTINGS["adam"] | {"lr": -1}}, r"^instrument\.companions\.a\.lr: got -1, allowed: a number above 0"),
        ({"a": SETTINGS["adam"] | {"speed": 1}}, r"^instrument\.companions\.a\.speed: no such key"),
        ({"a": {"name": "adam"}}, r"^instrument\.companions\.a\.\w+: must be given"),
        ([SETTINGS["adam"]], r"^instrument\.companions: got .*, allowed: an optimizer's settings for each label"),
    ],
)
def test_what_is_wrong_with_a_companion_is_one_line(companions, message):
    with pytest.raises(UsageError, match=message):
        validate(run_with(**settings(companions=companions)).config)


def test_companions_on_the_command_line(workplace):
    done = command(
        "run",
        "threads=1",
        "model.widths=[4]",
        "budget=smoke",
        "log.every=1",
        "instrument=directions",
        "+optimizer@instrument.companions.adam=adam",
        "instrument.companions.adam.lr=1",
    )
    assert done.code == 0 and not done.err, done
    found = rows(directory(), "train")
    assert len(found) == 2 and all(-1 <= row["cosine/adam/2"] <= 1 for row in found)


# Descent


def test_what_a_step_does_to_its_batch():
    """The change is the loss after minus before, on the same batch; a row has the largest change of its steps."""
    run = run_with(
        instrument={"name": "descent"}, optimizer=SETTINGS["sgd"], dtype="float64", log__every=1, budget__steps=6
    )
    trainer, record = Trainer(run), Record()
    trainer.train(record, lambda _: None, lambda *_: None)
    changes = [row["batch_change"] for row in record if row["kind"] == "train"]
    other = Trainer(run_with(optimizer=SETTINGS["sgd"], dtype="float64", log__every=1, budget__steps=6))
    for change, (_, f) in zip(changes, other.problem.objectives()):
        before = f.loss()
        other.optimizer.step(f)
        assert change == pytest.approx((f.loss() - before).item(), rel=1e-12)
    changed = dict(
        instrument={"name": "descent"}, optimizer=SETTINGS["sgd"], dtype="float64", log__every=3, budget__steps=6
    )
    coarse, record = Trainer(run_with(**changed)), Record()
    coarse.train(record, lambda _: None, lambda *_: None)
    assert [row["batch_change"] for row in record if row["kind"] == "train"] == [max(changes[:3]), max(changes[3:])]
    assert all(torch.equal(a, b) for a, b in zip(bits(trainer), bits(other))), "and nothing moved"
    assert trainer.problem.cost.counts()["forwards"] == 6, "nor was it metered"


# Trajectory


def free_run(**changes):
    model = files.group_defaults("model", "free_mlp") | {"widths": [6]}
    instrument = {"name": "trajectory", "points": 3, "radius": 0.5}
    return run_with(
        model=model, instrument=instrument, optimizer=SETTINGS["sgd"], dtype="float64", log__every=2, **changes
    )


def test_the_way_of_two_weights_and_the_loss_around_their_start():
    trainer, record = Trainer(free_run(budget__steps=6)), Record()
    layer, model = trainer.problem.model[-1], trainer.problem.model
    start = layer.free().tolist()
    x, y = trainer.problem.train
    expected = {}
    for u in (start[0] - 0.5, start[0], start[0] + 0.5):
        for v in (start[1] - 0.5, start[1], start[1] + 0.5):
            other = copy.deepcopy(model)
            with torch.no_grad():
                other[-1].weight[tuple(layer.places.T)] = torch.tensor([u, v], dtype=torch.float64)
            expected[u, v] = nn.functional.cross_entropy(other(x), y).item()
    trainer.train(record, lambda _: None, lambda *_: None)
    first, *others = [row for row in record if row["kind"] == "train"]
    found = {
        tuple(map(float, key.split("/")[1:])): value for key, value in first.items() if key.startswith("landscape/")
    }
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-9)
    assert list(found) == [pytest.approx(place, rel=1e-5) for place in expected]
    assert [first["start/0"], first["start/1"]] == start and len(others) == 2
    assert not any("landscape" in key or "start" in key for row in others for key in row)
    assert [others[-1]["weight/0"], others[-1]["weight/1"]] == layer.free().tolist() != start


def test_a_trajectory_moves_nothing():
    looked, plain = free_run(budget__steps=6), free_run(budget__steps=6)
    plain.config["instrument"] = {"name": "none"}
    ends = []
    for run in (looked, plain):
        trainer = Trainer(run)
        trainer.train(Record(), lambda _: None, lambda *_: None)
        ends.append((bits(trainer), trainer.problem.cost.counts()))
    assert all(torch.equal(a, b) for a, b in zip(ends[0][0], ends[1][0])) and ends[0][1] == ends[1][1]


def test_a_trajectory_of_another_model_is_one_line():
    with pytest.raises(UsageError, match="trajectory is of two free weights"):
        Trainer(run_with(instrument={"name": "trajectory", "points": 3, "radius": 0.5}))
