"""Instruments, the measurements beside the training: one module each, under the names of conf/instrument/."""

from __future__ import annotations

from typing import Any

from sobench.training.clock import Clock
from sobench.training.instruments.base import Instrument
from sobench.training.instruments.descent import Descent
from sobench.training.instruments.differences import Differences
from sobench.training.instruments.directions import Directions
from sobench.training.instruments.optimum import Optimum
from sobench.training.instruments.product_time import ProductTime
from sobench.training.instruments.summary import SummaryInstrument
from sobench.training.instruments.trajectory import Trajectory
from sobench.training.problem import Problem

INSTRUMENTS: dict[str, type[Instrument]] = {
    "none": Instrument,
    "directions": Directions,
    "descent": Descent,
    "trajectory": Trajectory,
    "summary": SummaryInstrument,
    "differences": Differences,
    "product_time": ProductTime,
    "optimum": Optimum,
}


def make_instrument(problem: Problem, clock: Clock, settings: dict[str, Any]) -> Instrument:
    """The instrument that the settings choose. Raises UsageError or Unsupported if the problem does not allow it."""
    return INSTRUMENTS[settings["instrument"]["name"]](problem, clock, settings)
