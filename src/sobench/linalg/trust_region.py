"""The reduction ratio of a quadratic model, and the Levenberg-Marquardt rule for the damping.

    rho = (f(theta) - f(theta + p)) / (m(0) - m(p))                           actual over predicted reduction
    lambda <- boost lambda  if rho < epsilon;   drop lambda  if rho > 1 - epsilon

Y. Ren, thesis, equation 5.5 and section 5.2.3.
"""

from __future__ import annotations

import torch
from torch import Tensor


def reduction_ratio(loss: Tensor, new_loss: Tensor, predicted: Tensor) -> Tensor:
    """rho, a scalar: the reduction from `loss` to `new_loss` over the `predicted` one, positive for a valid model."""
    return (loss - new_loss) / predicted


def levenberg_marquardt(damping: Tensor, rho: Tensor, *, boost: float, drop: float, epsilon: float = 0.25) -> Tensor:
    """The damping of the next step, a scalar. A NaN counts as rho < epsilon. Does not synchronise with the device."""
    trusted = torch.where(rho > 1 - epsilon, drop * damping, damping)
    return torch.where(rho >= epsilon, trusted, boost * damping)
