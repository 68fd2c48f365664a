"""An optimizer, a model and a data set of one's own, in one file. In the folder of the file:

    sobench run -m optimizer=mine.py:SignDescent,adamw model=mine.py:net dataset=mine.py:rings batch_size=50 \\
        optimizer.lr=0.1,0.01,0.001 seed=0,1,2
    sobench report
"""

import math

import torch
from torch import nn

from sobench.data import Dataset


class SignDescent(torch.optim.Optimizer):
    """Steps by the sign of the gradient. The parameters of the constructor are the settings `optimizer.*`."""

    def __init__(self, params, lr: float = 0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, f):
        loss = f()
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad.sign()
        return loss


def net(input_shape, outputs, width: int = 20):
    """A perceptron with one tanh layer. sobench fills in the first two parameters; `model.width` is a setting."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), width), nn.Tanh(), nn.Linear(width, outputs))


def rings(samples: int = 500, noise: float = 0.1):
    """Points on two rings; the label is the ring."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (2 * samples,), generator=generator)
    angle = math.tau * torch.rand(2 * samples, generator=generator)
    radius = 1 + labels + noise * torch.randn(2 * samples, generator=generator)
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return Dataset("rings", (points[:samples], labels[:samples]), (points[samples:], labels[samples:]), classes=2)
