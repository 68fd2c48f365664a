"""What a test of the loop watches: the record of a run, and a clock that moves only when it is told to."""

from __future__ import annotations

from sobench.training import clock


class Record(list):
    """Stands for metrics.jsonl."""

    def of(self, kind: str) -> list[dict]:
        return [row for row in self if row["kind"] == kind]

    def steps(self, kind: str) -> list[int]:
        return [row["step"] for row in self.of(kind)]


class Time:
    """A clock that moves only when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        for name in ("perf_counter", "process_time", "monotonic"):
            monkeypatch.setattr(clock.time, name, lambda: self.now)

    def after(self, monkeypatch, owner, name: str, seconds: float) -> None:
        true = getattr(owner, name)

        def slow(*args, **kwargs):
            self.now += seconds
            return true(*args, **kwargs)

        monkeypatch.setattr(owner, name, slow)
