"""Doubles for tests of the training loop: a record in a list, and a clock that tests move."""

from __future__ import annotations

from sobench.training import clock


class Record(list):
    """A record of rows in a list, in place of metrics.jsonl."""

    def of(self, kind: str) -> list[dict]:
        """The rows of a kind, train or eval."""
        return [row for row in self if row["kind"] == kind]

    def steps(self, kind: str) -> list[int]:
        """The steps of the rows of a kind."""
        return [row["step"] for row in self.of(kind)]


class Time:
    """A clock in place of `time` in sobench.training.clock; `now` is its time in seconds."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        for name in ("perf_counter", "process_time", "monotonic"):
            monkeypatch.setattr(clock.time, name, lambda: self.now)

    def after(self, monkeypatch, owner, name: str, seconds: float) -> None:
        """Let every call of owner.name take `seconds`."""
        true = getattr(owner, name)

        def slow(*args, **kwargs):
            self.now += seconds
            return true(*args, **kwargs)

        monkeypatch.setattr(owner, name, slow)
