"""Instruments, the measurements beside the training: one module each, under the names of conf/instrument/."""

from __future__ import annotations

from typing import Any

from sobench.config import signature
from sobench.training.clock import Clock
from sobench.training.instruments.base import Instrument
from sobench.training.problem import Problem


def make_instrument(problem: Problem, clock: Clock, settings: dict[str, Any]) -> Instrument:
    """The instrument that the settings choose. Raises UsageError or Unsupported if the problem does not allow it."""
    own = {key: value for key, value in settings["instrument"].items() if key != "name"}
    given = {"problem": problem, "clock": clock, "settings": settings}
    return signature.call("instrument", settings["instrument"]["name"], given, own)
