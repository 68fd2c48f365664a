"""The base class: hyperparameters are checked, and read at each step; the state survives a resume."""

import math

import pytest
import torch
from objectives import through_a_file
from problems import Source, error, problem
from torch import nn

from sobench import Objective, load_optimizer
from sobench.config import files, registry, rules
from sobench.errors import UsageError
from sobench.optim.base import SecondOrderOptimizer

OURS = ["newton", "damped_newton", "hf_newton", "hf_gauss_newton"]
HESSIAN_FREE = ["hf_newton", "hf_gauss_newton"]


class Remembering(SecondOrderOptimizer):
    """Heavy ball in float64 whatever the parameters' dtype, with state of every kind."""

    def __init__(self, params, lr: float = 0.1, momentum: float = 0.9):
        super().__init__(params, lr=lr, momentum=momentum)

    def step(self, f):
        loss, g = f.value_and_grad()
        state, hp = self.global_state, self.hyperparameters
        state["v"] = hp["momentum"] * state.get("v", 0.0) + g.double()
        state["steps"] = state.get("steps", 0) + 1
        state["nested"] = {"pairs": [(state["v"] * 0.1, state["steps"])], "note": "text", "none": None}
        for p, v in zip(f.space.parameters, f.space.unflatten(state["v"])):
            self.state[p]["factor"] = v / 3.0
            self.state[p]["history"] = [v, v.to(torch.bfloat16)]
        f.space.assign_((f.space.get().double() - hp["lr"] * state["v"]).float())
        return loss


def single(device="cpu"):
    """A float32 objective and its optimizer."""
    p = problem("mlp_tanh", "cross_entropy", device=device)
    model = p.model.float()
    return Objective(model, p.loss, (p.batch[0].float(), p.batch[1])), Remembering(model.parameters())


@pytest.mark.parametrize("through", [lambda state, _: state, through_a_file], ids=["memory", "torch.save"])
def test_the_state_survives_bit_for_bit_with_its_dtypes(through, device):
    f, optimizer = single(device)
    for _ in range(3):
        optimizer.step(f)
    g, resumed = single(device)
    g.network.model.load_state_dict(f.network.model.state_dict())
    resumed.load_state_dict(through(optimizer.state_dict(), device))
    assert resumed.global_state["v"].dtype == torch.float64 and resumed.global_state["steps"] == 3
    for p, q in zip(f.space.parameters, g.space.parameters):
        assert resumed.state[q]["factor"].dtype == torch.float64 and q.dtype == torch.float32
        assert resumed.state[q]["history"][1].dtype == torch.bfloat16
        same(resumed.state[q], optimizer.state[p])
    same(resumed.global_state, optimizer.global_state)
    assert set(resumed.state) == {"shared", *g.space.parameters}
    for _ in range(3):
        optimizer.step(f), resumed.step(g)
    assert torch.equal(f.space.get(), g.space.get())


def same(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        [same(a[k], b[k]) for k in a]
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        [same(x, y) for x, y in zip(a, b)]
    else:
        assert a == b


def test_a_loaded_state_is_a_copy():
    f, optimizer = single()
    optimizer.step(f)
    _, resumed = single()
    resumed.load_state_dict(optimizer.state_dict())
    resumed.global_state["v"].zero_()
    assert optimizer.global_state["v"].any()


def test_hyperparameters_are_saved_and_restored():
    f, optimizer = single()
    optimizer.param_groups[0]["lr"] = 0.025
    _, resumed = single()
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.hyperparameters["lr"] == 0.025 and resumed.hyperparameters["momentum"] == 0.9


@pytest.mark.parametrize("name", OURS)
def test_a_torch_scheduler_sets_the_learning_rate(name, device):
    p = problem("mlp_tanh", "squared_error", l2=0.1, device=device)
    f, theta = Objective(p.model, p.loss, p.batch, l2=0.1), p.theta
    optimizer = load_optimizer(name)(p.model.parameters(), lr=0.8)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.25)
    steps = []
    for _ in range(3):
        f.space.assign_(theta)
        optimizer.step(f)
        scheduler.step()
        steps.append(f.space.get() - theta)
    assert error(steps[1], steps[0] / 4) < 1e-12 and error(steps[2], steps[0] / 16) < 1e-12


BAD = {  # hyperparameter: (values, the optimizers that have it)
    "lr": ([0, -1.0, math.nan, math.inf, "fast", True, None], OURS),
    "damping": ([-1e-9, math.nan, math.inf, "big", False, None], OURS[1:]),
    "cg_iterations": ([0, -1, 1.5, True, "many"], HESSIAN_FREE),
    "cg_tol": ([-1e-9, math.nan, math.inf, "tight"], HESSIAN_FREE),
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for key in BAD for name in BAD[key][1]])
def test_bad_hyperparameters(name, key):
    for value in BAD[key][0]:
        with pytest.raises(UsageError, match=rf"^{key}: got .*, allowed: "):
            load_optimizer(name)(nn.Linear(2, 2).parameters(), **{key: value})


@pytest.mark.parametrize("name", sorted(rules.OPTIMIZER_RULES))
def test_the_class_has_the_rules_that_configurations_are_checked_by(name):
    cls = load_optimizer(name)
    assert not issubclass(cls, SecondOrderOptimizer) or cls.rules is rules.OPTIMIZER_RULES[name]


class Ranged(Remembering):
    rules = {"momentum": rules.NUMBER, "layers": rules.COUNT}

    def __init__(self, params, momentum: float = 1.5, layers: int = 3, start: float = 0.5):
        SecondOrderOptimizer.__init__(self, params, momentum=momentum, layers=layers, start=start)


def test_a_rule_of_the_class_goes_before_the_common_one_and_other_words_are_free():
    assert Ranged(nn.Linear(2, 2).parameters(), start="anything").hyperparameters["momentum"] == 1.5
    with pytest.raises(UsageError, match="^layers: got 0, allowed: a whole number of at least 1$"):
        Ranged(nn.Linear(2, 2).parameters(), layers=0)


@pytest.mark.parametrize("name", OURS)
def test_one_parameter_group(name):
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    with pytest.raises(UsageError, match="one parameter group, got 2"):
        load_optimizer(name)([{"params": a.parameters()}, {"params": b.parameters(), "lr": 0.1}])
    assert load_optimizer(name)([{"params": [*a.parameters(), *b.parameters()]}]).hyperparameters["lr"] == 0.5


# What a step is made of


class Averaging(SecondOrderOptimizer):
    """A step along the moving average of the gradient, after a warm start that counts the batches it saw."""

    def __init__(
        self, params, lr: float = 0.1, momentum: float = 0.9, dampening: float = 0.0, weight_decay: float = 0.0
    ):
        super().__init__(params, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay)

    def initialize(self, f):
        self.global_state["batches"] = self.global_state.get("batches", 0) + sum(1 for _ in f.batches())

    def step(self, f):
        self.diagnostics = {"k": self.begin(f)}
        loss, g = f.value_and_grad()
        self.descend(f, self.update_momentum(g, self.hyperparameters["momentum"], self.hyperparameters["dampening"]))
        return loss


def averaging(device="cpu", cls=Averaging, **options):
    p = problem("mlp_tanh", "cross_entropy", device=device)
    f = Objective(p.model, p.loss, p.batch, source=Source(p))
    return f, cls(f.space.parameters, **options)


def test_begin_counts_the_steps_and_warms_up_once(device):
    f, optimizer = averaging(device)
    for k in (1, 2, 3):
        optimizer.step(f)
        assert optimizer.diagnostics["k"] == k
    assert optimizer.global_state["batches"] == 1  # 11 samples in batches of 6
    g, resumed = averaging(device)
    resumed.load_state_dict(optimizer.state_dict())
    resumed.step(g)
    assert resumed.diagnostics["k"] == 4 and resumed.global_state["batches"] == 1


def test_a_warm_start_before_the_first_step_is_not_made_again(device):
    f, optimizer = averaging(device)
    optimizer.warm_start(f)
    assert optimizer.global_state["step"] == 0 and optimizer.global_state["batches"] == 1
    optimizer.step(f)
    assert optimizer.diagnostics["k"] == 1 and optimizer.global_state["batches"] == 1


@pytest.mark.parametrize("momentum, dampening", [(0.0, 0.0), (0.9, 0.0), (0.9, 0.9), (0.5, 0.2)])
@pytest.mark.parametrize("decay", [0.0, 0.4])
def test_a_step_is_heavy_ball_from_zero_with_decoupled_decay(momentum, dampening, decay, device):
    f, optimizer = averaging(device, lr=0.3, momentum=momentum, dampening=dampening, weight_decay=decay)
    theta, m = f.space.get(), 0.0
    for _ in range(4):
        m = momentum * m + (1 - dampening) * f.value_and_grad(theta)[1]
        theta = theta - 0.3 * (m + decay * theta)
        optimizer.step(f)
        assert error(f.space.get(), theta) < 1e-13


def test_descend_leaves_the_direction_as_it_was(device):
    f, optimizer = averaging(device)
    p = f.value_and_grad()[1]
    kept = p.clone()
    optimizer.descend(f, p)
    assert torch.equal(p, kept)


def test_a_step_after_a_descent_is_at_the_new_parameters(device):
    """The kept forward pass is of the parameters before."""
    f, optimizer = averaging(device)
    optimizer.step(f)
    assert error(f.value_and_grad()[1], f.value_and_grad(f.space.get())[1]) < 1e-14


@pytest.mark.parametrize("name", [n for n, e in registry.entries("optimizers").items() if registry.is_ours(e)])
def test_a_constructor_has_the_defaults_of_conf(name):
    """`sobench optimizer=name` and `Name(params)` are the same method."""
    optimizer = load_optimizer(name)([nn.Parameter(torch.zeros(2, 2))])
    if not isinstance(optimizer, SecondOrderOptimizer):
        pytest.skip("its constructor is torch's")
    for key, default in files.group_defaults("optimizer", name).items():
        if key != "name":
            setting = optimizer.hyperparameters[key]
            assert (list(setting) if isinstance(setting, tuple) else setting) == default, key


def test_as_many_parameters_of_another_model_are_not_those_of_the_objective():
    f, _ = averaging()
    others = problem("mlp_tanh", "cross_entropy").model.parameters()
    with pytest.raises(UsageError, match="allowed: an optimizer of model.parameters"):
        Averaging(others).step(f)
