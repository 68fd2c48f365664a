"""What is measured on a whole set besides the loss: each a mean over samples, so that chunks can be averaged."""

from __future__ import annotations

from torch import Tensor


def accuracy(loss, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Share of samples whose largest output is their class; targets are labels [N] or one-hot [N, C].

    Of one output, targets 0 or 1 [N, 1]: the class is 1 where the mean of p(t | z) is above 1/2.
    """
    if outputs.shape[1] == 1:
        return {"accuracy": ((loss.predict(outputs) > 0.5) == (targets.view_as(outputs) > 0.5)).double().mean()}
    labels = targets if targets.dim() == 1 else targets.argmax(1)
    return {"accuracy": (outputs.argmax(1) == labels).double().mean()}


def mean_squared_error(loss, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Mean over samples and outputs of (prediction - target)^2, the prediction being the mean of p(t | z)."""
    return {"mse": (loss.predict(outputs) - targets).square().mean()}
