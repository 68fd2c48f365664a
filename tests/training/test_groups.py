"""Parameter groups: what is in which, and their steps against loops over torch's optimizers by hand."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from harness import run_with
from torch import nn
from watched import Record

from sobench.config.grid import expand
from sobench.errors import Unsupported, UsageError
from sobench.training import snapshot
from sobench.training.contract import _through_disk, advance
from sobench.training.groups import divided, facts
from sobench.training.problem import Problem
from sobench.training.trainer import Trainer

ADAMW = {"name": "adamw", "lr": 0.01, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.1, "amsgrad": False}
SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
MUON = {"name": "muon", "lr": 0.02, "weight_decay": 0.1, "momentum": 0.95, "nesterov": True}
OTHER = {key: value for key, value in ADAMW.items() if key != "name"}
MUON_AND_ADAMW = MUON | {
    "groups": [{"match": "ndim == 2 and not output"}, {"match": "rest", "optimizer": "adamw", "defaults": OTHER}]
}


def trainer(optimizer, steps=7, **changes) -> Trainer:
    return Trainer(run_with(optimizer=optimizer, budget__steps=steps, log__every=1, **changes))


def trained(optimizer, **changes) -> Trainer:
    made = trainer(optimizer, **changes)
    assert made.train(Record(), lambda _: None, lambda *_: None) is None
    return made


def bits(made: Trainer) -> str:
    return snapshot.summary(made, "done", None)["parameters_sha256"]


def by_hand(made: Trainer, *optimizers: torch.optim.Optimizer) -> str:
    """The bits of the parameters after seven steps of a loop with these optimizers."""
    for _, f in itertools.islice(made.problem.objectives(), 7):
        for optimizer in optimizers:
            optimizer.zero_grad()
        f()
        for optimizer in optimizers:
            optimizer.step()
    return bits(made)


def test_two_optimizers_make_the_steps_of_a_loop_with_both():
    made = trainer(SGD)
    named = dict(made.problem.model.named_parameters())
    last = list(named)[-2:]
    matrices = [p for name, p in named.items() if p.ndim == 2 and name not in last]
    rest = [p for p in named.values() if not any(p is one for one in matrices)]
    muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1, momentum=0.95, nesterov=True)
    adamw = torch.optim.AdamW(rest, lr=0.01, weight_decay=0.1)
    assert len(matrices) >= 1 and len(rest) > len(matrices)
    assert bits(trained(MUON_AND_ADAMW)) == by_hand(made, muon, adamw)


def test_groups_that_differ_in_a_setting_are_the_parameter_groups_of_torch():
    made = trainer(ADAMW)
    weights, biases = ([p for p in made.problem.model.parameters() if p.ndim == n] for n in (2, 1))
    adamw = torch.optim.AdamW([{"params": biases, "weight_decay": 0.0}, {"params": weights}], lr=0.01, weight_decay=0.1)
    grouped = bits(trained(ADAMW | {"groups": [{"match": "bias", "weight_decay": 0.0}]}))
    assert grouped == by_hand(made, adamw) != bits(trained(ADAMW))


@pytest.mark.parametrize("groups", [[{"match": "rest"}], [{"match": "weight"}], [{"match": "bias"}, {"match": "rest"}]])
def test_groups_that_change_nothing_leave_every_bit(groups):
    for optimizer in (ADAMW, SGD):
        assert bits(trained(optimizer | {"groups": groups})) == bits(trained(optimizer))


def test_a_schedule_acts_on_all_groups_and_a_resumed_run_has_the_same_bits():
    schedule = {"name": "step", "period": 1, "gamma": 0.5}
    saved = {}
    straight = trainer(MUON_AND_ADAMW, schedule=schedule, batch_size=64, steps=60)
    steps_per_epoch = straight.problem.steps_per_epoch

    def save(made):
        if made.step == steps_per_epoch + 2:
            saved.update(copy.deepcopy(snapshot.state(made)))

    straight.train(Record(), save, lambda *_: None)
    rates = [group["lr"] for group in straight.optimizer.param_groups]
    assert rates == pytest.approx([0.02 / 2 ** (60 // steps_per_epoch), 0.01 / 2 ** (60 // steps_per_epoch)])
    resumed = trainer(MUON_AND_ADAMW, schedule=schedule, batch_size=64, steps=60)
    snapshot.restore(resumed, saved)
    resumed.train(Record(), lambda _: None, lambda *_: None)
    assert bits(resumed) == bits(straight)
    assert [group["lr"] for group in resumed.optimizer.param_groups] == rates


COUNTING = """
import torch

class Counting(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr=lr)
        self.count = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            for p in group["params"]:
                seen = self.state[p].setdefault("seen", torch.zeros((), dtype=torch.int8))
                p -= group["lr"] / self.count * p.grad + 1e-3 * (seen // 2)
                seen += 1
"""


def test_a_member_keeps_what_a_class_of_another_package_has_outside_its_state(plugins):
    """Three steps, a checkpoint and three steps: the bits of six steps."""
    plugins("counting", {"counting.py": COUNTING}, {"counting": "counting:Counting"})
    check_resume(SGD | {"groups": [{"match": "weight", "optimizer": "counting", "defaults": {"lr": 0.5}}]})


@pytest.mark.filterwarnings("ignore")  # of the package
def test_a_member_of_another_package_resumes_with_its_attributes():
    pytest.importorskip("pytorch_optimizer")
    name = "pytorch_optimizer:Ranger21"
    settings = expand([f"optimizer={name}", "optimizer.num_iterations=6", "optimizer.lookahead_merge_time=4"])[0]
    defaults = {key: value for key, value in settings.config["optimizer"].items() if key != "name"}
    check_resume(SGD | {"groups": [{"match": "weight", "optimizer": name, "defaults": defaults}]})


def check_resume(optimizer):
    straight, first, second = (trainer(optimizer, dtype="float64") for _ in range(3))
    losses = advance(straight, 6)
    assert advance(first, 3) == losses[:3]
    snapshot.restore(second, _through_disk(snapshot.state(first)))
    assert advance(second, 3) == losses[3:] and bits(second) == bits(straight)


def test_a_checkpoint_of_before_has_the_states_of_torch_alone():
    straight, first, second = (trainer(MUON_AND_ADAMW) for _ in range(3))
    losses = advance(straight, 4)
    advance(first, 2)
    saved = snapshot.state(first)
    saved["optimizer"] = {"members": [member.state_dict() for member in first.optimizer.members]}
    snapshot.restore(second, _through_disk(saved))
    assert advance(second, 2) == losses[2:] and bits(second) == bits(straight)


SHIFTED = """
import torch

class Shifted(torch.optim.SGD):
    def eval(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(1.0)

    def train(self):
        pass
"""


def test_a_member_with_modes_is_evaluated_where_it_says(plugins):
    plugins("shifted", {"shifted.py": SHIFTED}, {"shifted": "shifted:Shifted"})
    group = {"match": "weight", "optimizer": "shifted", "defaults": {"lr": 0.5}}
    made = trained(SGD | {"groups": [group]})
    weights, biases = ([p.detach().clone() for p in made.problem.model.parameters() if p.ndim == n] for n in (2, 1))
    with made.evaluation_mode():
        assert all(torch.equal(p, w + 1) for p, w in zip(_of(made, 2), weights))
        assert all(torch.equal(p, b) for p, b in zip(_of(made, 1), biases))
    assert all(torch.equal(p, w) for p, w in zip(_of(made, 2), weights))


def _of(made, ndim):
    return [p for p in made.problem.model.parameters() if p.ndim == ndim]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(5, 4)
        self.positions = nn.Parameter(torch.zeros(3, 4))
        self.attention = nn.MultiheadAttention(4, 2)
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 4, 3))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 5)
        self.head.weight = self.words.weight


def test_the_kinds_of_parameters():
    kinds = {one.name: one.kinds for one in facts(Net())}
    assert kinds == {
        "positions": set(),
        "words.weight": {"weight", "embedding", "linear", "output"},  # shared
        "attention.in_proj_weight": {"weight", "linear"},
        "attention.in_proj_bias": {"bias", "linear"},
        "attention.out_proj.weight": {"weight", "linear"},
        "attention.out_proj.bias": {"bias", "linear"},
        "conv.bias": {"bias", "conv"},
        "conv.parametrizations.weight.original0": {"weight", "conv"},
        "conv.parametrizations.weight.original1": {"weight", "conv"},
        "norm.weight": {"weight", "norm"},
        "norm.bias": {"bias", "norm"},
        "head.bias": {"bias", "linear", "output"},
    }


def test_each_parameter_is_in_the_first_group_that_matches_it():
    model = Net()
    groups = [{"match": "norm or bias"}, {"match": "output"}, {"match": 'name ~ "att*"', "lr": 1.0}, {"match": "conv"}]
    parts = divided(SGD | {"groups": groups}, model)
    named = {p: name for name, p in model.named_parameters()}
    assert [[named[p] for p in part][0] for _, part in parts] == [
        "attention.in_proj_bias",
        "words.weight",
        "attention.in_proj_weight",
        "conv.parametrizations.weight.original0",
        "positions",
    ]
    assert sorted(named[p] for _, part in parts for p in part) == sorted(named.values())
    assert [settings["lr"] for settings, _ in parts] == [0.1, 0.1, 1.0, 0.1, 0.1]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([{"match": "norm"}], r"groups\[0\].match: got 'norm', which matches no parameter .* 1\.weight \(ndim 2\)"),
        ([{"match": "weight"}, {"match": "ndim == 2"}], r"groups\[1\].match: got 'ndim == 2', but earlier groups have"),
        (
            [{"match": "bias or weight", "optimizer": "adamw", "defaults": OTHER}],
            "got 'sgd', which has no parameters: .* allowed: optimizer=adamw",
        ),
    ],
)
def test_a_group_without_a_parameter_is_refused_with_the_names(groups, message):
    with pytest.raises(UsageError, match=message):
        trainer(SGD | {"groups": groups})


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ({"optimizer": "lbfgs", "defaults": {"lr": 1.0}}, "evaluates the loss in its step, which takes closure"),
        ({"optimizer": "newton", "defaults": {"lr": 1.0}}, "requires .*hessian.* of the whole model"),
    ],
)
def test_a_method_that_needs_the_whole_model_has_no_part_of_it(group, reason):
    with pytest.raises(Unsupported, match=reason):
        trainer(SGD | {"groups": [{"match": "bias", **group}]}, model__widths=[2])


# The groups of `optimizer=muon`


def test_muon_by_name_is_the_recipe_of_its_author():
    """K. Jordan's README: hidden matrices by Muon with lr 0.02, all else by AdamW with lr 3e-4, betas 0.9 and 0.95."""
    words = ["model=vit", "model.depth=1", "optimizer=muon", "budget.steps=7", "threads=1"]
    by_name, made = (Trainer(expand(words)[0]) for _ in range(2))
    assert by_name.train(Record(), lambda _: None, lambda *_: None) is None
    named = dict(made.problem.model.named_parameters())
    hidden = [p for name, p in named.items() if name.startswith("blocks.") and p.ndim == 2]
    rest = [p for p in named.values() if not any(p is one for one in hidden)]
    assert len(hidden) == 6 and len(rest) > 6
    muon = torch.optim.Muon(hidden, lr=0.02, weight_decay=0.01, momentum=0.95, nesterov=True)
    adamw = torch.optim.AdamW(rest, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.01)
    assert bits(by_name) == by_hand(made, muon, adamw)


@pytest.mark.parametrize(
    ("words", "hidden"),
    [
        (["model=mlp", "model.widths=[8,6]"], 2),
        (["model=vit"], 2 * 6),
        (["dataset=pydoc", "model=gpt", "dataset.length=8", "model.depth=1", "model.width=8"], 6),
        (["dataset=poisson", "model=pinn", "dtype=float64"], 1),
    ],
)
def test_muon_has_the_hidden_matrices_of(words, hidden):
    run = expand([*words, "optimizer=muon", "threads=1"])[0]
    model = Problem(run.config, torch.device("cpu")).model
    (muon, matrices), (adamw, rest) = divided(run.config["optimizer"], model)
    assert (muon["name"], adamw["name"]) == ("torch.optim:Muon", "adamw") and len(matrices) == hidden
    last = [*model.parameters()][-1]
    assert {p.ndim for p in matrices} == {2} and any(p is last for p in rest)
    assert len(matrices) + len(rest) == len([*model.parameters()])


def test_a_model_without_hidden_matrices_has_no_use_for_muon():
    with pytest.raises(UsageError, match=r"groups\[0\]\.match: got 'weight and ndim == 2 .* matches no parameter"):
        Trainer(expand(["model=linear", "optimizer=muon"])[0])


def test_muon_alone_takes_matrices_alone():
    with pytest.raises(UsageError, match="Muon only supports 2D parameters"):
        Trainer(expand(["optimizer=muon", "optimizer.groups=null"])[0])
