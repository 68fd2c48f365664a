"""`logger=tensorboard`: event files in the run directory, by torch's own writer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sobench.results.axes import POSITION
from sobench.results.loggers.base import Logger, named
from sobench.results.state import last_row

QUEUE = 10_000
"""Events that may wait for the disk before a row does."""


class EventFiles(Logger):
    """A scalar a column; the position once a step. `seconds`, `epoch` and `work` are scalars, as TensorBoard has one x-axis."""

    def start(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        last = last_row(self.directory.metrics)
        self._step = -1 if last is None else last["step"]
        folder = self.directory.path / "tensorboard"
        # purge_step: TensorBoard hides what was written after the checkpoint that the run goes on from
        self._writer = SummaryWriter(
            str(folder), purge_step=self._step + 1 if folder.exists() else None, max_queue=QUEUE
        )
        if last is None:
            config = (self.directory.path / "config.yaml").read_text()
            self._writer.add_text("config", "    " + config.replace("\n", "\n    "))

    def row(self, row: Mapping[str, Any]) -> None:
        fresh, self._step = row["step"] != self._step, row["step"]
        for tag, value in named(row).items():
            if isinstance(value, (int, float)) and (fresh or tag not in POSITION):
                self._writer.add_scalar(tag, value, row["step"])

    def flush(self) -> None:
        self._writer.flush()

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._writer.add_text("summary", f"{summary['status']}: {summary['reason'] or ''}", summary["steps"])
        self._writer.close()
