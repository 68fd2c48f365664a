"""Runs as documents for programs: what `--json` prints of each run. No pandas, no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sobench.config import names
from sobench.results.status import CellStatus, count


def of_cells(cells: Sequence[CellStatus], root: Path) -> dict[str, Any]:
    """The folder of the runs, the number of runs in each state, and a document for each run of these cells."""
    known = {cell.name: cell.settings for cell in cells if cell.settings}
    titles, settings = names.names(known), names.differing(known)
    runs = [
        _of_run(cell, seed, root, titles.get(cell.name), settings.get(cell.name, {}))
        for cell in cells
        for seed in cell.states
    ]
    counts = count(state for cell in cells for state in cell.states.values())
    return {"folder": root, "counts": counts, "runs": runs}


def _of_run(cell: CellStatus, seed: int, root: Path, title: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """One run. title, settings: the name of its cell, and in what it differs from others of the same optimizer."""
    state = cell.states[seed]
    dataset, model, optimizer = names.problem(cell.settings) if cell.settings else (None, None, None)
    digest = cell.name.rpartition("_")[2]
    return {
        "id": f"{digest}-{seed}",
        "name": f"{title or cell.name} seed {seed}",
        "folder": os.path.join(root, cell.name, f"seed-{seed}"),
        "cell": digest,
        "seed": seed,
        "dataset": dataset,
        "model": model,
        "optimizer": optimizer,
        "settings": settings,
        "status": state.status,
        "reason": state.reason,
        "stale": cell.stale.get(seed),
        "holder": str(state.holder) if state.holder else None,
        "steps": state.step,
        "epochs": state.epoch,
        "seconds": state.seconds,
        "final": dict(state.summary.get("final", {})),
    }
