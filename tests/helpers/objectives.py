"""The tiny problems of `problems` as objectives, the effect of a step, and optimizer states saved to a file."""

from __future__ import annotations

import io

import torch
from problems import problem

from sobench import Objective
from sobench.training.streams import Streams


def objective(p, step: int | None = 1) -> Objective:
    """The objective of a problem, with the random streams of a step; None: with torch's global generator."""
    streams = None if step is None else Streams(0, p.batch[0].device).at(step)
    return Objective(p.model, p.loss, p.batch, l2=p.l2, streams=streams)


def make(model="mlp_tanh", loss="cross_entropy", device="cpu", step: int | None = None, **options):
    """A problem and its objective."""
    p = problem(model, loss, device=device, **options)
    return p, objective(p, step)


def moved(optimizer, f):
    """The change of theta by one step, [P], and the loss that the step returns."""
    before = f.space.get()
    loss = optimizer.step(f)
    return f.space.get() - before, loss


def through_a_file(state, device="cpu"):
    """A state after torch.save and torch.load with weights_only."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True, map_location=device)
