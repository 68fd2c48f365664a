"""A perceptron together with its Laplacian, for equations with second derivatives: a physics-informed network.

M. Raissi, P. Perdikaris and G. E. Karniadakis, Physics-Informed Neural Networks (2019). A sample is a point x [d] with
two coefficients, and the output is one number,

    z = c_0 u(x) + c_2 Laplacian u(x)

u is a perceptron. Its value a, first derivatives J_i and Laplacian L go through the layers side by side, as a state of
d + 2 rows (the forward Laplacian of R. Li et al. (2024)):

    Linear       W a + b,   W J_i,          W L
    activation   phi(a),    phi'(a) J_i,    phi'(a) L + phi''(a) sum_i J_i^2

A layer is called once, on all rows, with a 1 behind the value and a 0 behind the derivatives in place of a bias. The
rows are what the oracles of layers call locations. So K-FAC sees a network with shared weights, as in F. Dangel, J.
Mueller and M. Zeinhofer, Kronecker-Factored Approximate Curvature for Physics-Informed Neural Networks (2024). They
keep one pair of factors for the equation and one for the boundary; here both kinds of samples are in one pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sobench.config.registry import suggestion
from sobench.errors import UsageError

Jet = tuple[Tensor, Tensor, Tensor]
"""phi(x), phi'(x) and phi''(x)."""


def _tanh(x: Tensor) -> Jet:
    y = torch.tanh(x)
    slope = 1 - y * y
    return y, slope, -2 * y * slope


def _sin(x: Tensor) -> Jet:
    y = torch.sin(x)
    return y, torch.cos(x), -y


def _sigmoid(x: Tensor) -> Jet:
    y = torch.sigmoid(x)
    slope = y * (1 - y)
    return y, slope, slope * (1 - 2 * y)


ACTIVATIONS: dict[str, Callable[[Tensor], Jet]] = {"tanh": _tanh, "sin": _sin, "sigmoid": _sigmoid}
"""Name -> the function with its two derivatives. Others of `sobench.models.activations` have no second derivative, or
none that is smooth."""


class PINN(nn.Module):
    """z [N, 1] from x [N, d + 2]: the point, c_0 and c_2. layers: weights [width, width before + 1], bias in the last
    column."""

    def __init__(self, coordinates: int, widths: Sequence[int], activation: str):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UsageError(f"model.activation: got {activation!r}, {suggestion(activation, ACTIVATIONS)}")
        self.coordinates, self.activation = coordinates, activation
        sizes = [coordinates, *widths, 1]
        self.layers = nn.ModuleList(_joined(nn.Linear(before, after)) for before, after in zip(sizes, sizes[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """z [N, 1]."""
        d = self.coordinates
        value, laplacian = self.jet(x[:, :d])
        return x[:, d : d + 1] * value + x[:, d + 1 :] * laplacian

    def jet(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """u(x) and Laplacian u(x), both [N, 1], at points [N, d]."""
        N, d = points.shape
        first = torch.eye(d, dtype=points.dtype, device=points.device).expand(N, d, d)
        state = torch.cat([points[:, None], first, torch.zeros_like(points[:, None])], 1)  # [N, d + 2, d]
        one = torch.zeros_like(state[:, :, :1])
        one[:, 0] = 1
        phi = ACTIVATIONS[self.activation]
        for i, layer in enumerate(self.layers):
            if i:
                y, slope, bend = phi(state[:, :1])
                J, L = state[:, 1:-1], state[:, -1:]
                state = torch.cat([y, slope * J, slope * L + bend * (J * J).sum(1, keepdim=True)], 1)
            state = layer(torch.cat([state, one], 2))
        return state[:, 0], state[:, -1]


def _joined(layer: nn.Linear) -> nn.Linear:
    """A layer without a bias whose last column is the bias of `layer`: its inputs end with the 1 or 0 of the bias."""
    with torch.random.fork_rng([]):  # its own initial weights are not used
        joined = nn.Linear(layer.in_features + 1, layer.out_features, bias=False)
    joined.weight = nn.Parameter(torch.cat([layer.weight, layer.bias[:, None]], 1).detach())
    return joined


def pinn(input_shape: Sequence[int], outputs: int, *, coordinates: int, widths: Sequence[int], activation: str) -> PINN:
    """A perceptron u of `coordinates` inputs and one output, with its Laplacian.

    widths: the units of each hidden layer. activation: a name of ACTIVATIONS. Inputs [N, coordinates + 2] to outputs
    [N, 1]; the weights have torch's default initialisation. Raises UsageError for an unknown activation.
    """
    return PINN(coordinates, widths, activation)
