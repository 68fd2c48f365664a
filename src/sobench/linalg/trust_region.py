"""How much to trust a quadratic model: the reduction ratio, and the damping that follows from it.

rho = (f(theta) - f(theta + p)) / (m(0) - m(p))               actual over predicted reduction (thesis, equation 5.5)
lambda <- boost lambda  if rho < epsilon;   drop lambda  if rho > 1 - epsilon            Levenberg-Marquardt (section 5.2.3)
"""

from __future__ import annotations

import torch
from torch import Tensor


def reduction_ratio(loss: Tensor, new_loss: Tensor, predicted: Tensor) -> Tensor:
    """rho, a scalar: the reduction from `loss` to `new_loss` over the `predicted` one (positive where the model is sane)."""
    return (loss - new_loss) / predicted


def levenberg_marquardt(damping: Tensor, rho: Tensor, *, boost: float, drop: float, epsilon: float = 0.25) -> Tensor:
    """The damping of the next step, a scalar; no device is waited for. A ratio that is not a number counts as a failure."""
    trusted = torch.where(rho > 1 - epsilon, drop * damping, damping)
    return torch.where(rho >= epsilon, trusted, boost * damping)
