"""`logger=tensorboard`: event files in the run directory, written by torch's SummaryWriter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sobench.results.axes import POSITION
from sobench.results.loggers.base import Logger, shown_as
from sobench.results.state import last_row

QUEUE = 10_000
"""Events that the writer keeps in memory before `row` waits for the disk."""


class EventFiles(Logger):
    """A scalar for each column; those of the position once a step.

    TensorBoard's only x-axis is the step: `epoch` and the costs are scalars like the metrics.
    """

    def start(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        last = last_row(self.directory.metrics)
        self._step = -1 if last is None else last["step"]
        folder = self.directory.path / "tensorboard"
        # purge_step: TensorBoard hides the events after the checkpoint from which the run resumes
        self._writer = SummaryWriter(
            str(folder), purge_step=self._step + 1 if folder.exists() else None, max_queue=QUEUE
        )
        if last is None:
            config = (self.directory.path / "config.yaml").read_text()
            self._writer.add_text("config", "    " + config.replace("\n", "\n    "))

    def row(self, row: Mapping[str, Any]) -> None:
        fresh, self._step = row["step"] != self._step, row["step"]
        for column, value in row.items():
            if isinstance(value, (int, float)) and (fresh or column not in POSITION):
                self._writer.add_scalar(shown_as(column, row["kind"]), value, row["step"])

    def flush(self) -> None:
        self._writer.flush()

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._writer.add_text("summary", f"{summary['status']}: {summary['reason'] or ''}", summary["steps"])

    def close(self) -> None:
        self._writer.close()
