"""Checkpoints: the state of a run at one step, written atomically, checked by a digest, and read without running code.

checkpoint.pt            the latest checkpoint: torch's own format followed by its 32-byte SHA-256
checkpoint-previous.pt   the checkpoint before, which is read if the latest is damaged
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sobench.results.digests import signed, unsigned
from sobench.results.rundir import whole_lines
from sobench.system.files import write_atomically

LATEST, PREVIOUS = "checkpoint.pt", "checkpoint-previous.pt"


def save(folder: Path, state: dict[str, Any], check: Callable[[], None] = lambda: None) -> None:
    """Write `state` as the latest checkpoint in `folder`. The checkpoint that was the latest becomes the previous one.

    state: tensors, numbers, strings, None, and lists and dicts of these. check: called before anything is replaced; it
    may raise.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()

    def keep_previous() -> None:
        check()
        if (folder / LATEST).exists():
            os.replace(folder / LATEST, folder / PREVIOUS)

    write_atomically(folder / LATEST, signed(data), before=keep_previous)


def load(folder: Path, device: torch.device) -> tuple[dict[str, Any] | None, list[str]]:
    """The latest intact checkpoint, or None, and a line for each damaged one.

    A checkpoint is intact if its digest is right and metrics.jsonl, up to the checkpoint's step, is what it was.
    Tensors are placed on `device`.
    """
    damage = []
    for name in (LATEST, PREVIOUS):
        if not (folder / name).exists():
            continue
        try:
            state = _read(folder / name, device)
            step, length = int(state["step"]), int(state["metrics_bytes"])
        except Exception as error:  # a foreign or damaged file may raise anything
            damage.append(f"{name} is damaged ({' '.join(str(error).split()) or type(error).__name__:.80})")
            continue
        if whole_lines(folder / "metrics.jsonl", length, state.get("metrics_sha256")):
            return state, damage
        damage.append(f"metrics.jsonl is damaged before step {step}, the step of {name}")
    return None, damage


def clear(folder: Path) -> None:
    """Delete the checkpoints of a run that has finished."""
    for name in (LATEST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def _read(file: Path, device: torch.device) -> dict[str, Any]:
    """The state in a file. Raises ValueError if its digest is wrong."""
    return torch.load(io.BytesIO(unsigned(file.read_bytes())), map_location=device, weights_only=True)
