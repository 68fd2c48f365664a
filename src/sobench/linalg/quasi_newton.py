"""BFGS updates of an approximation H of an inverse Hessian, and the dampings that keep H positive definite.

    H+ = (I - rho s y') H (I - rho y s') + rho s s',  rho = 1 / s'y        (Y. Ren, thesis, equations 2.6 and 3.11)

H+ y = s (the secant equation), and H+ is positive definite if H is and s'y > 0. A pair is skipped if s'y is not a
positive finite number. H is a matrix (`Dense`), or is given by gamma I and the last p pairs (`Compact`; `Scaled` if
gamma follows the pairs). Vectors are [d]. Nothing synchronises with the device: choices are made by `torch.where`.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import torch
from torch import Tensor


class Inverse(Protocol):
    """A positive definite H [d, d], given by its products and its update.

    state: everything that H consists of, for the optimizer's state.
    """

    state: dict[str, Any]

    def __matmul__(self, X: Tensor, /) -> Tensor:
        """H X, shaped as X, for X [d] or [d, n]."""
        ...

    def update_(self, s: Tensor, y: Tensor) -> Tensor:
        """H <- H+, in place, for s [d] and y [d]. Returns y'H y / s'y for the H before the update, a scalar."""
        ...


class Dense:
    """H as a matrix, state["H"] [d, d]."""

    def __init__(self, state: dict[str, Any]):
        self.state = state

    @classmethod
    def start(cls, gamma: float, like: Tensor) -> Self:
        """H = gamma I, with the size, dtype and device of the vector `like` [d]."""
        return cls({"H": torch.diag(torch.full_like(like, gamma))})

    def __matmul__(self, X: Tensor) -> Tensor:
        return self.state["H"] @ X

    def update_(self, s: Tensor, y: Tensor) -> Tensor:
        return bfgs_(self.state["H"], s, y)


class Compact:
    """H as gamma I and the last p pairs. H is never formed; H X is two products with 2p columns.

        H = gamma I + [S Y] [ R^-T (D + gamma Y'Y) R^-1   -gamma R^-T ] [S Y]'
                            [ -gamma R^-1                      0      ]

    R. Byrd, J. Nocedal and R. Schnabel (1994), theorem 2.2, with gamma inside the small matrix. This is the recursion
    (2.12) of the thesis from H_0 = gamma I. The columns of S and Y [d, p] are the pairs, oldest first. R is the upper
    triangle of S'Y, and D is its diagonal. The state:

    pairs: [p, 2, d], the latest last; zeros before the first pair.
    inner: [p, 2, p], s_i'y_j (0 for i > j) and y_i'y_j.
    small: [2p, 2p], the small matrix.
    count: the number of updates.
    gamma: as above.
    """

    def __init__(self, state: dict[str, Any]):
        self.state = state

    @classmethod
    def start(cls, gamma: float, like: Tensor, history: int) -> Self:
        """H = gamma I with room for p = history pairs, with the size, dtype and device of the vector `like` [d]."""
        return cls(
            {
                "gamma": gamma,
                "count": 0,
                "pairs": like.new_zeros(history, 2, len(like)),
                "inner": like.new_zeros(history, 2, history),
                "small": like.new_zeros(2 * history, 2 * history),
            }
        )

    def __matmul__(self, X: Tensor) -> Tensor:
        n = 2 * min(self.state["count"], len(self.state["pairs"]))  # the rest of the pairs is zero
        pairs, small = self.state["pairs"].flatten(0, 1)[-n:], self.state["small"][-n:, -n:]
        if not n:
            return self.state["gamma"] * X
        return self.state["gamma"] * X + pairs.T @ (small @ (pairs @ X).to(small)).to(X)

    def update_(self, s: Tensor, y: Tensor) -> Tensor:
        state, sy, yHy = self.state, s @ y, y @ (self @ y)
        pairs = torch.cat([state["pairs"][1:], torch.stack([s, y])[None]])
        inner = _shifted(state["inner"], pairs @ y)
        valid = curved(sy)
        state["pairs"] = torch.where(valid, pairs, state["pairs"])
        state["inner"] = torch.where(valid, inner, state["inner"])
        state["small"] = _small(state["inner"], state["gamma"])
        state["count"] += 1
        return yHy / sy


class Scaled(Compact):
    """L-BFGS: `Compact` with gamma = s'y / y'y for the latest valid pair, a 0-dim tensor; before it gamma is as given.

    J. Nocedal and S. Wright, Numerical Optimization, equation 7.20. The vectors may be as long as theta, so a new pair
    overwrites the oldest one and the others stay in place: O(d) writes instead of O(p d). The additional state `order`
    [p] has the positions of the pairs in `pairs` and `small`, oldest first. `inner`, `small` and gamma are in double
    precision: in single precision R^-1 loses two digits that the two-loop recursion does not lose.
    """

    @classmethod
    def start(cls, gamma: float, like: Tensor, history: int) -> Self:
        H = super().start(gamma, like, history)
        H.state |= {name: H.state[name].double() for name in ("inner", "small")}
        H.state["gamma"] = like.new_full((), gamma, dtype=torch.float64)
        H.state["order"] = torch.arange(history - 1, -1, -1, device=like.device)  # empty places come first
        return H

    def update_(self, s: Tensor, y: Tensor) -> Tensor:
        state, order, sy, yy = self.state, self.state["order"], s @ y, y @ y
        pair_products = state["pairs"] @ y
        products = pair_products.flatten().double()
        yHy = state["gamma"] * yy + products @ (state["small"] @ products)
        valid, oldest = curved(sy), order[:1]
        pair = torch.where(valid, torch.stack([s, y]), state["pairs"][oldest])
        state["pairs"].index_copy_(0, oldest, pair)
        column = torch.cat([pair_products[order[1:]], torch.stack([sy, yy])[None]])
        state["inner"] = torch.where(valid, _shifted(state["inner"], column), state["inner"])
        state["order"] = order = torch.where(valid, order.roll(-1), order)
        state["gamma"] = torch.where(valid, sy / yy, state["gamma"])
        places = torch.stack([2 * order, 2 * order + 1], 1).flatten()
        state["small"][places[:, None], places] = _small(state["inner"], state["gamma"])
        state["count"] += 1
        return yHy / sy


def _shifted(inner: Tensor, column: Tensor) -> Tensor:
    """`inner` [p, 2, p] without the oldest pair and with a new one; `column` [p, 2] has the products with its y."""
    inner = inner.roll((-1, -1), (0, 2))
    inner[-1, 0], inner[-1, 1], inner[..., -1] = 0, column[:, 1], column
    return inner


def _small(inner: Tensor, gamma: float | Tensor) -> Tensor:
    """The small matrix of `Compact`, [2p, 2p], with rows and columns in the order s_1, y_1, s_2, ..."""
    SY, YY = inner.unbind(1)
    D = SY.diagonal()
    R = SY + torch.diag((D == 0).to(SY))  # 1 for an empty place
    R_inv = torch.linalg.solve_triangular(R, torch.eye(len(R), dtype=R.dtype, device=R.device), upper=True)
    small = inner.new_zeros(len(R), 2, len(R), 2)
    small[:, 0, :, 0] = R_inv.T @ (torch.diag(D) + gamma * YY) @ R_inv
    small[:, 0, :, 1] = -gamma * R_inv.T
    small[:, 1, :, 0] = -gamma * R_inv
    return small.view(2 * len(R), -1)


def bfgs_(H: Tensor, s: Tensor, y: Tensor) -> Tensor:
    """H <- H+ for a matrix H [d, d], s [d] and y [d], in place: H + s w' + w s', w = rho ((1 + rho y'H y) s / 2 - H y).

    Takes O(d^2) operations. Returns y'H y / s'y for the H before the update, a scalar.
    """
    Hy, sy = H @ y, s @ y
    ratio = (y @ Hy) / sy
    w = torch.addcmul(-Hy, s, 0.5 * (1 + ratio)) / sy
    pair = torch.stack([s, w])
    pair = torch.where(curved(sy), pair, 0.0)
    H.addmm_(pair.T, pair.flip(0))
    return ratio


def curved(sy: Tensor) -> Tensor:
    """Whether s'y is a positive finite number, so that the update keeps H positive definite; a 0-dim bool tensor."""
    return (sy > 0) & (sy < torch.inf)


def powell(s: Tensor, y: Tensor, Hy: Tensor, mu1: float) -> Tensor:
    """Powell's damping on H: s~ = theta s + (1 - theta) H y [d] with s~'y >= mu1 y'H y (thesis, algorithm 3)."""
    sy, yHy = s @ y, y @ Hy
    theta = torch.where(sy < mu1 * yHy, (1 - mu1) * yHy / (yHy - sy), 1.0)
    return torch.lerp(Hy, s, theta)


def double_damping(H: Inverse, s: Tensor, y: Tensor, mu1: float, mu2: float) -> tuple[Tensor, Tensor]:
    """Double damping DD, (s~ [d], y~ [d]): Powell's damping on H, then with B = I, s~'y~ >= mu2 s~'s~.

    Thesis, algorithm 3, which has mu2 in (0, 1]. For mu2 > 1 y~ is not a convex combination of y and s~, but the
    inequality holds.
    """
    s = powell(s, y, H @ y, mu1)
    sy, ss = s @ y, s @ s
    theta = torch.where(sy < mu2 * ss, (1 - mu2) * ss / (ss - sy), 1.0)
    return s, torch.lerp(s, y, theta)


def lm_damping(H: Inverse, s: Tensor, y: Tensor, mu1: float, mu2: float) -> tuple[Tensor, Tensor]:
    """D_P D_LM, (s~ [d], y~ [d]): Powell's damping on H, then y~ = y + mu2 s~, which adds mu2 I to H^-1.

    Thesis, algorithm 8.
    """
    s = powell(s, y, H @ y, mu1)
    return s, torch.add(y, s, alpha=mu2)
