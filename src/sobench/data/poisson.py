"""Poisson's equation on the unit cube, as points at which a network has to satisfy it. No files.

    - Laplacian u = f in (0, 1)^d,   u = g on the boundary

A sample is a linear function of u: a point x [d] and the coefficients c_0, c_2 of c_0 u(x) + c_2 Laplacian u(x), with
the number that it has to be. The loss squared_error is that of J. Mueller and M. Zeinhofer, Achieving High Accuracy
with PINNs via Energy Natural Gradients (2023), a mean over each of the two kinds of training points:

    1/(2 N_f) sum (Laplacian u(x) + f(x))^2 + 1/(2 N_g) sum (u(x) - g(x))^2

To be a mean over all N = N_f + N_g samples, those of a kind have the factor sqrt(N / N_f) or sqrt(N / N_g). The test
samples ask for u(x) / ||u||, with the root of the mean square of the solution at the test points for ||u||, so that
`test_rmse` is the relative L2 error ||u_theta - u|| / ||u|| of this literature. The solutions are smooth and known:

    sines     u = prod_i sin(pi x_i),   f = d pi^2 u,   g = 0
    cosines   u = sum_i cos(pi x_i),    f = pi^2 u
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sobench.data.dataset import Dataset

if TYPE_CHECKING:
    from torch import Generator, Tensor


def poisson(
    *, dimension: int = 2, solution: str = "sines", interior: int = 900, boundary: int = 120, test: int = 2000
) -> Dataset:
    """`interior` + `boundary` training samples and `test` test samples, float64 [N, dimension + 2], targets [N, 1].

    Interior and test points are uniform in the cube, boundary points on its 2 d faces. They are the same for every seed
    of a run.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    inside = torch.rand(interior, dimension, generator=generator, dtype=torch.float64)
    faces = _on_faces(boundary, dimension, generator)
    points = torch.rand(test, dimension, generator=generator, dtype=torch.float64)

    samples = interior + boundary
    of_f, of_g = math.sqrt(samples / interior), math.sqrt(samples / boundary)
    u = _solution(solution, points)
    size = float(u.square().mean().sqrt())
    train = (
        torch.cat([_samples(inside, 0.0, -of_f), _samples(faces, of_g, 0.0)]),
        torch.cat([of_f * _source(solution, inside), of_g * _solution(solution, faces)]),
    )
    of_solution = _samples(points, 1 / size, 0.0), u / size
    return Dataset("poisson", train, of_solution, classes=None, coordinates=dimension, note=solution)


def _on_faces(count: int, dimension: int, generator: Generator) -> Tensor:
    """So many uniform points on the faces of the cube, the faces in turn, so that each has the same share."""
    import torch

    points = torch.rand(count, dimension, generator=generator, dtype=torch.float64)
    numbers = torch.arange(count)
    points[numbers, numbers // 2 % dimension] = (numbers % 2).double()
    return points


def _samples(points: Tensor, value: float, laplacian: float) -> Tensor:
    """[N, d + 2]: the points with the two coefficients."""
    import torch

    coefficients = torch.tensor([value, laplacian], dtype=points.dtype).expand(len(points), 2)
    return torch.cat([points, coefficients], 1)


def _solution(solution: str, x: Tensor) -> Tensor:
    """u [N, 1] at points [N, d]."""
    if solution == "sines":
        return (math.pi * x).sin().prod(1, keepdim=True)
    return (math.pi * x).cos().sum(1, keepdim=True)


def _source(solution: str, x: Tensor) -> Tensor:
    """f [N, 1] = - Laplacian u at points [N, d]."""
    factor = x.shape[1] if solution == "sines" else 1
    return factor * math.pi**2 * _solution(solution, x)
