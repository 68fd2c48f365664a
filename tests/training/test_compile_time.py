"""The time in which torch compiles during the steps: off the clock, and recorded apart."""

from __future__ import annotations

import copy

import pytest
import torch
from harness import run_with
from torch._dynamo.callback import CallbackTrigger, callback_handler
from watched import Record, Time

from sobench.cli import plan
from sobench.config import registry
from sobench.training import snapshot
from sobench.training.trainer import Trainer

SETTINGS = {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.0}, "log__every": 1}


@pytest.fixture
def time(monkeypatch):
    """A second for each step; steps 1 and 3 compile for 50 and 20 seconds besides, with a part of it nested."""
    time, steps, true = Time(monkeypatch), [], torch.optim.SGD.step

    def step(self, closure):
        steps.append(closure)
        time.now += 0.5
        if len(steps) in (1, 3):
            with callback_handler.install_callbacks(CallbackTrigger.DYNAMO, "0/0"):
                time.now += 40 if len(steps) == 1 else 20
                with callback_handler.install_callbacks(CallbackTrigger.LAZY_BACKWARD, "1/0"):
                    time.now += 10 if len(steps) == 1 else 0
        time.now += 0.5
        return true(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    return time


def test_compilation_is_off_the_clock_and_recorded_apart(time):
    trainer, record = Trainer(run_with(**SETTINGS, budget__steps=5)), Record()
    trainer.train(record, lambda _: None, lambda *_: None)
    assert [row["seconds"] for row in record.of("train")] == [1, 2, 3, 4, 5]
    assert [row["process_seconds"] for row in record.of("train")] == [1, 2, 3, 4, 5]
    assert snapshot.summary(trainer, "done", None)["compile_seconds"] == 70
    assert not callback_handler.start_callbacks and not callback_handler.end_callbacks


def test_a_plan_counts_it(time):
    run = run_with(**SETTINGS, budget__steps=5)
    measured = plan._measured(run)  # which makes one step first, whose compilation is no cost of the run
    assert measured.start == 20 and (measured.first, measured.step) == (1, 1)


def test_a_budget_of_seconds_is_not_spent_by_compilation(time):
    trainer = Trainer(run_with(**SETTINGS, budget__seconds=4))
    trainer.train(Record(), lambda _: None, lambda *_: None)
    assert trainer.step == 4 and trainer.clock.paused_seconds == 70


def test_a_resumed_run_adds_its_own_compilation(time):
    saved = {}

    def save(made):
        if made.step == 2:
            saved.update(copy.deepcopy(snapshot.state(made)))

    Trainer(run_with(**SETTINGS, budget__steps=3)).train(Record(), save, lambda *_: None)
    resumed = Trainer(run_with(**SETTINGS, budget__steps=4))
    snapshot.restore(resumed, saved)
    assert resumed.clock.paused_seconds == 50
    del saved["compile_seconds"]
    older = Trainer(run_with(**SETTINGS, budget__steps=4))
    snapshot.restore(older, saved)
    assert older.clock.paused_seconds == 0, "a checkpoint of before has none"


def test_compilation_in_the_rehearsal_is_recorded_by_each_process(time, monkeypatch):
    monkeypatch.setattr(registry, "is_plugin", lambda group, name: group == "optimizer")
    trainer, record, saved = Trainer(run_with(**SETTINGS, budget__steps=5)), Record(), {}
    assert trainer.clock.seconds == 0 and trainer.clock.paused_seconds == 70, "steps 1 and 3 are rehearsed"
    trainer.train(record, lambda made: saved.update(copy.deepcopy(snapshot.state(made))), lambda *_: None)
    assert record.of("train")[-1]["seconds"] == 5 and saved["compile_seconds"] == 70
    resumed = Trainer(run_with(**SETTINGS, budget__steps=5))
    resumed.clock.paused_seconds = 7.0  # of its own rehearsal
    snapshot.restore(resumed, saved)
    assert snapshot.summary(resumed, "done", None)["compile_seconds"] == 77


def test_compilation_outside_the_steps_is_not_counted(time, monkeypatch):
    trainer = Trainer(run_with(**SETTINGS, budget__steps=2))
    evaluate = trainer.problem.evaluate

    def compiled():
        with callback_handler.install_callbacks(CallbackTrigger.DYNAMO, "0/0"):
            time.now += 1000
        return evaluate()

    monkeypatch.setattr(trainer.problem, "evaluate", compiled)
    trainer.train(Record(), lambda _: None, lambda *_: None)
    assert trainer.clock.seconds == 2 and trainer.clock.paused_seconds == 50
