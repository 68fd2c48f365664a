"""Tests of complex activations against torch's real ones and their derivatives, on both sides of every branch."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sobench.objective.holomorphic import scalars as scalars

H = 1e-20
PAIRS = {  # name: (the real function, its extension)
    "relu": (F.relu, scalars.relu),
    "leaky_relu": (lambda x: F.leaky_relu(x, 0.3), lambda z: scalars.leaky_relu(z, 0.3)),
    "elu": (lambda x: F.elu(x, 0.7), lambda z: scalars.elu(z, 0.7)),
    "sigmoid": (torch.sigmoid, scalars.sigmoid),
    "silu": (F.silu, scalars.silu),
    "gelu": (lambda x: F.gelu(x, approximate="tanh"), lambda z: scalars.gelu(z, approximate="tanh")),
    "softplus": (F.softplus, scalars.softplus),
    "softplus, beta and threshold": (lambda x: F.softplus(x, 3.0, 10.0), lambda z: scalars.softplus(z, 3.0, 10.0)),
    "tanh": (torch.tanh, torch.tanh),
    "sin": (torch.sin, torch.sin),
}
NUMBERS = st.floats(-60, 60) | st.floats(-1e-6, 1e-6)


def real(f, x: float, dtype=torch.float64):
    """f, f', f'' at x by autograd."""
    t = torch.tensor(x, dtype=dtype, requires_grad=True)
    value = f(t)
    (first,) = torch.autograd.grad(value, t, create_graph=True)
    second = torch.autograd.grad(first, t)[0] if first.requires_grad else torch.zeros_like(t)
    return torch.stack([value.detach(), first.detach(), second])


def by_complex_steps(f, x: float, dtype=torch.float64):
    """Re f and Im f / h at x + ih, and Im f' / h by a backward pass there."""
    z = torch.complex(torch.tensor(x, dtype=dtype), torch.tensor(H, dtype=dtype)).requires_grad_()
    value = f(z)
    (conjugate,) = torch.autograd.grad(value.real, z)
    return torch.stack([value.real.detach(), value.imag.detach() / H, -conjugate.imag / H])


@pytest.mark.parametrize("name", PAIRS)
@given(x=NUMBERS)
@example(x=0.0)
@example(x=20.0)
@example(x=math.nextafter(20.0, 30))
@settings(max_examples=60, deadline=None)
def test_value_and_derivatives(name, x):
    """At 0 and at softplus's threshold f'' may jump, and torch's own is of neither side."""
    f, extended = PAIRS[name]
    orders = 2 if x in (0.0, 20.0) else 3
    torch.testing.assert_close(by_complex_steps(extended, x)[:orders], real(f, x)[:orders], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("x", [-1e4, -800.0, -90.0, 90.0, 800.0, 1e4])
@pytest.mark.parametrize("name", PAIRS)
def test_nothing_overflows(name, x, dtype):
    f, extended = PAIRS[name]
    torch.testing.assert_close(by_complex_steps(extended, x, dtype), real(f, x, dtype), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in PAIRS if name not in ("relu", "leaky_relu")])
def test_holomorphic_away_from_the_axis(name):
    """d/dx f = -i d/dy f: the Cauchy-Riemann equations, by differences, on both sides of the branch."""
    extended = PAIRS[name][1]
    z, h = torch.tensor([-1.3 + 0.4j, 0.6 - 0.3j], dtype=torch.complex128), 1e-5
    along, across = ((extended(z + h * u) - extended(z - h * u)) / (2 * h * u) for u in (1, 1j))
    torch.testing.assert_close(along, across, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("exponent", [-3, -1, 1, 2, 3, 4, 7, 2.0, 0.5, 2.5, -1.5])
@given(x=st.floats(0.1, 4))
@settings(max_examples=15, deadline=None)
def test_power(exponent, x):
    for base in (x, -x) if exponent == int(exponent) else (x,):
        actual = by_complex_steps(lambda z: scalars.power(z, exponent), base)
        expected = torch.tensor(
            [base**exponent, exponent * base ** (exponent - 1), exponent * (exponent - 1) * base ** (exponent - 2)]
        )
        torch.testing.assert_close(actual, expected.double(), rtol=1e-6, atol=1e-12)


def test_what_has_no_extension():
    z = torch.ones(2, dtype=torch.complex128)
    with pytest.raises(NotImplementedError, match="approximate='tanh'"):
        scalars.gelu(z)
    with pytest.raises(NotImplementedError, match="a number as its exponent"):
        scalars.power(z, z)
