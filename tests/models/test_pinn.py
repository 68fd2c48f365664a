"""The perceptron with its Laplacian: value and Laplacian against autograd's, and K-FAC's view of its layers."""

import pytest
import torch
from torch import nn

from sobench.errors import UsageError
from sobench.losses import SquaredError
from sobench.models.pinn import ACTIVATIONS, pinn
from sobench.objective import Objective
from sobench.objective.layers.matrices import sample_grads

MODULES = {"tanh": nn.Tanh, "sin": None, "sigmoid": nn.Sigmoid}


def network(activation, d=3, widths=(5, 4)):
    torch.manual_seed(0)
    return pinn((d + 2,), 1, coordinates=d, widths=widths, activation=activation).double()


def plain(model, x):
    """u(x) for one point x [d], by the weights and biases in a plain perceptron."""
    function = {"tanh": torch.tanh, "sin": torch.sin, "sigmoid": torch.sigmoid}[model.activation]
    *hidden, last = [(layer.weight[:, :-1], layer.weight[:, -1]) for layer in model.layers]
    for W, b in hidden:
        x = function(W @ x + b)
    return (last[0] @ x + last[1])[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_value_and_laplacian_are_those_of_autograd(activation):
    model = network(activation)
    points = torch.randn(6, 3, dtype=torch.float64)
    value, laplacian = model.jet(points)
    for n, x in enumerate(points):
        hessian = torch.func.hessian(lambda x: plain(model, x))(x)
        torch.testing.assert_close(value[n, 0], plain(model, x))
        torch.testing.assert_close(laplacian[n, 0], hessian.trace())


def test_the_output_is_the_linear_function_that_the_sample_asks_for():
    model = network("tanh")
    points = torch.randn(4, 3, dtype=torch.float64)
    value, laplacian = model.jet(points)
    c = torch.tensor([[1.0, 0.0], [0.0, -2.0], [0.5, 3.0], [0.0, 0.0]], dtype=torch.float64)
    expected = c[:, :1] * value + c[:, 1:] * laplacian
    torch.testing.assert_close(model(torch.cat([points, c], 1)), expected)


def test_it_starts_as_a_plain_perceptron_does():
    torch.manual_seed(3)
    layers = [nn.Linear(2, 7), nn.Linear(7, 1)]
    torch.manual_seed(3)
    model = pinn((4,), 1, coordinates=2, widths=[7], activation="tanh")
    for joined, layer in zip(model.layers, layers):
        assert torch.equal(joined.weight, torch.cat([layer.weight, layer.bias[:, None]], 1))


def test_the_rows_of_a_layer_explain_its_gradient():
    model = network("tanh")
    x, y = torch.randn(8, 5, dtype=torch.float64), torch.randn(8, 1, dtype=torch.float64)
    f = Objective(model, SquaredError(), (x, y))
    with f.record() as records:
        _, g = f.value_and_grad()
    expected = f.matrices.join(g)
    assert set(records) == {"layers.0", "layers.1", "layers.2"}
    for name, record in records.items():
        torch.testing.assert_close(sample_grads(record).sum(0), expected[name])


def test_an_activation_without_a_smooth_second_derivative_is_refused():
    with pytest.raises(UsageError, match="model.activation: got 'relu', allowed: sigmoid, sin, tanh"):
        pinn((4,), 1, coordinates=2, widths=[3], activation="relu")
