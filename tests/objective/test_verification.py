"""What passes do not follow (custom functions, references, checkpoints) is right all the same, or refused in one line.

Each model has a twin, the same function written in plain operations, whose derivatives are those of plain autograd.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from forwards import Model
from problems import noise
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from twins import COMPLEX, ORACLES, REAL, TWICE, N, compare, objective, refuses

from sobench import Objective
from sobench.errors import Unsupported, UsageError
from sobench.losses import CrossEntropy, SquaredError
from sobench.objective import make_partition, verification
from sobench.objective.cost import Cost
from sobench.objective.taylor.rules import RULES, elementwise


class Square(torch.autograd.Function):
    """x^2 by a Function that torch differentiates as often as it likes."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class InPlaceSquare(torch.autograd.Function):
    """x <- x^2, in the tensor that it is given."""

    @staticmethod
    def forward(ctx, x, original):
        ctx.save_for_backward(original)
        ctx.mark_dirty(x)
        return x.square_()

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g, None


class SquareOnce(Square):
    """Its second derivatives are silently zero in torch, unless one asks for those of every leaf."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0] * g


class SquareDetached(Square):
    """The gradient is right, its derivative is not: that of x is missing."""

    @staticmethod
    def backward(ctx, g):
        return 2 * ctx.saved_tensors[0].detach() * g


class SquareInNumpy(Square):
    """A gradient without a graph: not even products with the Jacobian are right."""

    @staticmethod
    def backward(ctx, g):
        return torch.from_numpy(2 * ctx.saved_tensors[0].detach().numpy() * g.detach().numpy())


class StraightThrough(torch.autograd.Function):
    """The sign of x with the derivative of x: meant so."""

    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, g):
        return g


@torch.library.custom_op("sobench_tests::square", mutates_args=())
def custom_square(x: Tensor) -> Tensor:
    return torch.from_numpy(np.square(x.detach().numpy()))


custom_square.register_autograd(
    lambda ctx, g: 2 * ctx.saved_tensors[0] * g,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)


def between(function) -> Model:
    torch.manual_seed(0)
    return Model(lambda self, x: self.b(function(torch.tanh(self.a(x)))), a=nn.Linear(4, 5), b=nn.Linear(5, 3)).double()


def square(h: Tensor) -> Tensor:
    return h * h


def test_a_function_of_ones_own_is_followed_by_real_passes():
    """The complex step of the gradient needs its backward pass to be analytic, which nothing says."""
    compare(lambda: between(Square.apply), lambda: between(square), refused=("complex gradient", "curvature"))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize(
    "function", [custom_square, lambda h: InPlaceSquare.apply(h * 1, h)], ids=["library", "in place"]
)
def test_other_functions_of_ones_own(function):
    compare(lambda: between(function), lambda: between(square), REAL | TWICE)
    for name in COMPLEX.keys() - {"complex loss"}:
        assert refuses(objective(between(function)), name, "no complex pass")


@pytest.mark.parametrize("function", [SquareOnce, SquareInNumpy])
def test_a_backward_pass_without_derivatives_has_a_gradient_alone(function):
    make = lambda: between(function.apply)
    compare(make, lambda: between(square), REAL | TWICE, refused=TWICE)
    assert refuses(objective(make()), "hessian", "no second derivatives of Model")


def test_a_backward_pass_that_hides_its_input_has_no_hessian():
    """Gauss-Newton products take its Jacobian alone, and are right."""
    make = lambda: between(SquareDetached.apply)
    compare(
        make,
        lambda: between(square),
        REAL | TWICE,
        refused=("hessian", "hessian elsewhere", "hessian, columns", "summary"),
    )
    assert refuses(objective(make()), "hessian", "not differences of its gradient")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_that_is_seen_in_each_precision(dtype):
    for function, right in ((SquareDetached, False), (Square, True)):
        f = objective(between(function.apply).to(dtype), dtype)
        if right:
            f.hessian()
        else:
            with pytest.raises(Unsupported, match="not differences"):
                f.hessian()


def test_a_straight_through_estimator_is_meant_so():
    f = objective(between(lambda h: StraightThrough.apply(h) + h))
    v = noise((f.space.size,), 5)
    assert bool((f.hessian() @ v).isfinite().all()) and bool((f.ggn() @ v).isfinite().all())


def test_a_series_does_not_end_in_a_function_of_ones_own():
    """A Function that is the last operation leaves the tape before its end."""
    torch.manual_seed(0)
    make = lambda end: Model(lambda self, x: end(self.a(x)), a=nn.Linear(4, 3)).double()
    torch.manual_seed(0)
    f = objective(make(Square.apply))
    torch.manual_seed(0)
    plain = objective(make(square))
    plain.space.assign_(f.space.get())
    v = noise((f.space.size,), 5)
    torch.testing.assert_close(TWICE["summary"](f, v), TWICE["summary"](plain, v), rtol=1e-9, atol=1e-11)


def test_a_series_that_is_wrong_for_an_unforeseen_reason_gives_way_to_products(monkeypatch):
    wrong = RULES | {torch.tanh: elementwise(lambda x, y: (1 - y * y, None, None))}
    monkeypatch.setattr("sobench.objective.taylor_oracles.RULES", wrong)
    f, v = objective(between(lambda h: h)), noise((25 + 18,), 5)
    actual = TWICE["summary"](f, v)
    assert f.network.known("series") is False
    monkeypatch.undo()
    g = objective(between(lambda h: h))
    torch.testing.assert_close(actual, TWICE["summary"](g, v), rtol=1e-9, atol=1e-11)
    assert g.network.known("series") is True


# Passes elsewhere than at the model's own parameters


def _checkpointed(run) -> Model:
    torch.manual_seed(0)
    block = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh())
    return Model(
        lambda self, x: self.b(run(self.block, torch.tanh(self.a(x)))),
        a=nn.Linear(4, 5),
        block=block,
        b=nn.Linear(5, 3),
    ).double()


def test_checkpointing_repeats_its_pass_at_the_parameters_of_the_model():
    """A gradient elsewhere would be of two points, in silence."""
    compare(
        lambda: _checkpointed(lambda block, h: checkpoint(block, h, use_reentrant=False)),
        lambda: _checkpointed(lambda block, h: block(h)),
        REAL | TWICE,
        refused=("gradient elsewhere", "hessian elsewhere", "summary"),
    )


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_reentrant_checkpointing_is_for_the_closure():
    make = lambda: _checkpointed(lambda block, h: checkpoint(block, h, use_reentrant=True))
    refused = {*REAL, *TWICE} - {"loss", "loss elsewhere", "closure"}
    compare(make, lambda: _checkpointed(lambda block, h: block(h)), REAL | TWICE, refused=refused)


def _captured() -> Model:
    torch.manual_seed(0)
    a, b = nn.Linear(4, 5).double(), nn.Linear(5, 3).double()
    weight = [b.weight]
    return Model(lambda self, x: F.linear(torch.tanh(self.a(x)), weight[0], self.b.bias), a=a, b=b)


def test_a_reference_to_a_parameter_does_not_move_elsewhere():
    elsewhere = {name for name in REAL | TWICE if "elsewhere" in name}
    refused = elsewhere | {"summary", "per_sample_grads", "output_jacobian"}  # all passes with parameters handed in
    compare(_captured, lambda: between(lambda h: h), REAL | TWICE, refused=refused)


# Complex passes


def _stopped(h: Tensor) -> Tensor:
    with torch.no_grad():
        c = h.exp()
    return h * c


def _written(h: Tensor) -> Tensor:
    z = torch.zeros(len(h), 5, dtype=torch.float64)
    z[:, :3] = h[:, :3] ** 2
    return z


UNANALYTIC = {
    "no_grad": _stopped,
    "a buffer of real numbers": _written,
    "max": lambda h: h * h.max(1, keepdim=True)[0],
    "amax": lambda h: h * h.amax(1, keepdim=True),
    "sort": lambda h: h.sort(1)[0] ** 2,
    "abs": lambda h: h.abs(),
    "norm": lambda h: h / h.norm(dim=1, keepdim=True),
    "softmax": lambda h: (h - h.amax(1, keepdim=True)).exp(),
    "a number": lambda h: h * h.sum().item(),
    "maximum": lambda h: torch.maximum(h, h**2),
}


@pytest.mark.parametrize("oracle", COMPLEX)
@pytest.mark.parametrize("name", UNANALYTIC)
def test_what_is_not_analytic_is_refused_by_every_complex_oracle(name, oracle):
    assert refuses(objective(between(UNANALYTIC[name])), oracle, "no complex pass")


@pytest.mark.parametrize("oracle", COMPLEX)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell])
def test_recurrent_layers_are_named(kind, oracle):
    recurrent = kind(4, 5)
    first = lambda y: first(y[0]) if isinstance(y, tuple) else y
    model = Model(lambda self, x: self.o(first(self.r(x))), r=recurrent, o=nn.Linear(5, 3)).double()
    assert refuses(objective(model), oracle, rf"no complex pass through r \({kind.__name__}")


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell])
def test_what_leaves_in_a_tuple_is_not_missed_by_a_series(kind):
    torch.manual_seed(0)
    first = lambda y: y[0] if isinstance(y, tuple) else y
    model = Model(lambda self, x: self.o(first(self.r(x))), r=kind(4, 5), o=nn.Linear(5, 3)).double()
    f, v = objective(model), noise((sum(p.numel() for p in model.parameters()),), 5)
    partition = make_partition(f.space, "canonical")
    rows = partition.sums(v * (objective(model).hessian() @ v))
    torch.testing.assert_close(f.summary(v, partition).second.sum(1), rows)


def test_the_innermost_module_is_named():
    model = nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.Tanh(), nn.Softmin(1)), nn.Linear(5, 3)).double()
    assert refuses(objective(model), "complex loss", r"through 1\.1 \(Softmin\(dim=1\)\)")
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


# The comparisons themselves


def test_comparisons_are_not_metered_and_made_once():
    calls = []
    model = between(lambda h: h)
    model.register_forward_hook(lambda *_: calls.append(1))
    counts, passes = [], []
    for _ in range(3):
        f = objective(model)
        v = noise((f.space.size,), 5)
        for name in ORACLES:
            ORACLES[name](f, v)
        counts.append(f.cost.counts())
        passes.append(len(calls))
    assert counts[0] == counts[1] == counts[2]
    first, second, third = passes[0], passes[1] - passes[0], passes[2] - passes[1]
    assert first > second == third


def test_comparisons_leave_everything_as_it_is():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3)).double()
    before, state = {k: t.clone() for k, t in model.state_dict().items()}, torch.get_rng_state()
    f = Objective(model, CrossEntropy(), (noise((N, 4), 1), torch.arange(N) % 3), cost=Cost(), noise_seed=3)
    with f.record() as layers:
        f.value_and_grad()
        seen = {name: (r.inputs, r.output_grads) for name, r in layers.items()}
        for name in (*TWICE, "loss elsewhere", "complex gradient"):
            if name == "summary":
                continue
            values = [ORACLES[name](f, noise((f.space.size,), 5)) for _ in range(2)]
            torch.testing.assert_close(*values, rtol=1e-12, atol=1e-14)
    assert seen.keys() == {"0", "1", "3"}
    assert all(torch.equal(t, before[k]) for k, t in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters()) and torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("takes", [lambda n: True, lambda n: n == 40], ids=["any batch", "one size"])
def test_comparisons_take_few_samples_if_the_model_does(takes):
    sizes = []

    def counted(self, x: Tensor) -> Tensor:
        sizes.append(len(x))
        if not takes(len(x)):
            raise RuntimeError("a batch of another size")
        return self.b(SquareOnce.apply(torch.tanh(self.a(x))))

    model = Model(counted, a=nn.Linear(4, 5), b=nn.Linear(5, 3)).double()
    f = Objective(model, CrossEntropy(), (noise((40, 4), 1), torch.arange(40) % 3))
    with pytest.raises(Unsupported, match="once_differentiable"):
        f.hessian()
    assert sizes[-1] == (32 if takes(1) else 40)
    f.value_and_grad(f.space.get() * 2)


def test_numbers_that_are_not_finite_show_nothing():
    f = objective(between(lambda h: h))
    f.value_and_grad(f.space.get() * float("nan"))
    assert f.network.known("elsewhere_gradient") is None
    f.value_and_grad(f.space.get() * 2)
    assert f.network.known("elsewhere_gradient") is True


def test_wrong_devices_are_named():
    model = between(lambda h: h).to("meta")
    with pytest.raises(UsageError, match="the model is on meta, the inputs are on cpu and the targets on cpu"):
        objective(model)


@pytest.mark.parametrize("seed", range(3))
def test_rounding_of_a_deep_network_in_single_precision_is_no_mistake(seed):
    """Forty normalized layers: two ways to one Hessian product differ by more than the root of eps."""
    torch.manual_seed(seed)
    layers = [layer for _ in range(40) for layer in (nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Tanh())]
    data = torch.randn(8, 8), torch.randint(0, 3, (8,))
    f = Objective(nn.Sequential(*layers, nn.Linear(8, 3)), CrossEntropy(), data)
    v = torch.randn_like(f.space.get())
    v /= v.norm()
    product, expected = f.value_and_grad(f.space.get() + 1e-12j * v)[1].imag / 1e-12, f.hessian() @ v
    assert (product - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize(
    ("error", "change", "is_mistake"),
    [(0.005, 0.0, True), (0.005, 1e4, False), (0.5, 1e4, True), (0.5, 1e9, True), (1e-4, 0.0, False)],
)
def test_an_error_may_be_ten_times_what_the_last_digits_of_the_parameters_make(error, change, is_mistake):
    """change: that of the number, relative to that of the parameters. Beyond a tenth nothing is allowed."""
    f = Objective(nn.Linear(20, 3), CrossEntropy(), (torch.randn(4, 20), torch.tensor([0, 1, 2, 0])))
    theta = f.space.get()

    def real(at: Tensor) -> Tensor:
        return theta + change * (at - theta)

    if is_mistake:
        with pytest.raises(Unsupported, match="imaginary part"):
            verification._is_analytic(f, (1 + error) * theta, theta, theta.norm(), real, theta)
    else:
        assert verification._is_analytic(f, (1 + error) * theta, theta, theta.norm(), real, theta)


def test_a_model_of_ten_million_parameters_in_single_precision_is_no_mistake():
    """Sums over all parameters have their rounding errors, which are no sign of a wrong product."""
    torch.manual_seed(0)
    model = nn.Linear(3000, 3000, bias=False)
    x = torch.full((1, 3000), 0.3)
    x[0, :11] = 30.0
    f = Objective(model, SquaredError(), (x, torch.zeros(1, 3000)))
    v = f.space.get()
    assert (f.ggn() @ v).isfinite().all()
