"""Snapshots of a Trainer: the state from which a run resumes bit for bit, and the summary of a run that has ended."""

from __future__ import annotations

import hashlib
from typing import Any

from torch import Tensor

from sobench.system import environment
from sobench.training import optimizer_state, random_state
from sobench.training.trainer import Trainer


def state(trainer: Trainer) -> dict[str, Any]:
    """Everything that the next step depends on, with clock and meter: tensors, numbers, strings, dicts and lists."""
    return {
        "step": trainer.step,
        "clock": [trainer.clock.seconds, trainer.clock.process_seconds],
        "warm_start_seconds": trainer.warm_start_seconds,
        "compile_seconds": trainer.clock.paused_seconds,
        "shared": trainer.gpu_shared,
        "cost": trainer.problem.cost.counts(),
        "model": trainer.problem.model.state_dict(),
        **optimizer_state.state(trainer.optimizer),
        "schedule": trainer.schedule.state_dict(),
        "instrument": trainer.instrument.state_dict(),
        "watch": trainer.watch.state_dict(),
        "final": trainer.final,
        "still": trainer.stalled_evaluations,
        **random_state.state(trainer.device),
    }


def restore(trainer: Trainer, saved: dict[str, Any]) -> None:
    """Put a trainer of the same run where it was when `saved` was taken by `state`."""
    trainer.step = saved["step"]
    trainer.clock.seconds, trainer.clock.process_seconds = saved["clock"]
    trainer.warm_start_seconds = saved["warm_start_seconds"]
    trainer.clock.paused_seconds += saved.get("compile_seconds", 0.0)  # to those of this process's rehearsal
    trainer.gpu_shared = trainer.gpu_shared or saved.get("shared", False)  # the restored seconds were on a shared GPU
    vars(trainer.problem.cost).update(saved["cost"])
    trainer.problem.model.load_state_dict(saved["model"])
    optimizer_state.restore(trainer.optimizer, saved)
    trainer.schedule.load_state_dict(saved["schedule"])
    trainer.instrument.load_state_dict(saved.get("instrument", {}))
    trainer.watch.load_state_dict(saved.get("watch", {}))
    trainer.final = saved["final"]
    trainer.stalled_evaluations = saved.get("still", 0)
    random_state.restore(saved, trainer.device)


def summary(trainer: Trainer, status: str, reason: str | None) -> dict[str, Any]:
    """The contents of summary.json: status and reason, length and cost of the run, memory, and its final metrics.

    `shared` is true if another process computed on the run's GPU. `compile_seconds` is the time in which torch compiled
    during the steps, which is off the clock, and in the rehearsal before them. `timing` is the judgement whether other
    work slowed the steps down, see `sobench.system.contention.judge`. `state_bytes` is the size of the optimizer's
    state.
    """
    parameters = [p.detach() for p in trainer.problem.model.parameters()]
    position = trainer.position()
    return {
        "status": status,
        "reason": reason,
        "steps": trainer.step,
        "epochs": position["epoch"],
        "converged": trainer.converged,
        **{key: position[key] for key in ("seconds", "process_seconds", "work")},
        "warm_start_seconds": trainer.warm_start_seconds,
        "compile_seconds": trainer.clock.paused_seconds,
        "shared": trainer.gpu_shared,
        "timing": trainer.timing(),
        **environment.peak_memory(trainer.device),
        "state_bytes": sum(t.nbytes for t in optimizer_state.tensors(trainer.optimizer.state_dict())),
        "parameters": sum(p.numel() for p in parameters),
        "parameters_sha256": _sha256(parameters),
        "final": trainer.final,
    }


def _sha256(tensors: list[Tensor]) -> str:
    """One SHA-256 digest, in hexadecimal, of the bits of all tensors in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
