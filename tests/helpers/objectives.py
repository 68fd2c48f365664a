"""The tiny problems of `problems` as objectives, what a step does to one, and an optimizer's state by way of a file."""

from __future__ import annotations

import io

import torch
from problems import problem

from sobench import Objective
from sobench.training.streams import Streams


def objective(p, step: int | None = 1) -> Objective:
    """With the random streams of a step; for None without, so that torch's global state is drawn from."""
    streams = None if step is None else Streams(0, p.batch[0].device).at(step)
    return Objective(p.model, p.loss, p.batch, l2=p.l2, streams=streams)


def make(model="mlp_tanh", loss="cross_entropy", device="cpu", step: int | None = None, **options):
    """A problem and its objective."""
    p = problem(model, loss, device=device, **options)
    return p, objective(p, step)


def moved(optimizer, f):
    """What one step adds to theta, and the loss that it returns."""
    before = f.space.get()
    loss = optimizer.step(f)
    return f.space.get() - before, loss


def through_a_file(state, device="cpu"):
    """What torch.save makes of it and torch.load, which runs no code, brings back."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True, map_location=device)
