"""A search for settings by Optuna: what is swept is a dimension, a trial is the sweep that is left. No torch.

    optimizer=sgd,adam optimizer.lr=tag(log,interval(1e-4,1)) seed=0,1      two dimensions, a trial is two runs

The study lives in memory: the run directories are its record. With the same seed its sampler asks for the same trials as long
as it is told the same values, so a command that was cut off comes to where it was without training anything again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sobench.config.files import GROUPS
from sobench.config.hydra_errors import readable_errors
from sobench.config.run import Run
from sobench.errors import UsageError
from sobench.results.state import state

REPEATED = "seed"
"""Swept, but no dimension: every trial is made with all of its values."""

SAMPLERS: dict[str, Callable[..., Any]] = {
    "tpe": lambda optuna, seed, space: optuna.samplers.TPESampler(seed=seed),
    "random": lambda optuna, seed, space: optuna.samplers.RandomSampler(seed=seed),
    "grid": lambda optuna, seed, space: optuna.samplers.GridSampler(space),
}


@dataclass(frozen=True)
class Trial:
    """Optuna's trial, the settings it chose, and all words of the sweep that it is."""

    optuna: Any
    chosen: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def number(self) -> int:
        return self.optuna.number


class Search:
    """A study of `settings` (the node hydra.sweeper) over what `words` sweep. Raises UsageError for what cannot be searched."""

    def __init__(self, settings, words: Sequence[str]):
        import optuna
        from hydra.core.override_parser.overrides_parser import OverridesParser

        with readable_errors(words):
            parsed = OverridesParser.create().parse_overrides(list(words))
        self._settings, self._optuna = settings, optuna
        self._dimensions = {o.get_key_element(): dimension(o) for o in parsed if searched(o)}
        self._fixed = tuple(o.input_line for o in parsed if not searched(o))
        if not self._dimensions:
            raise UsageError(
                "hydra/sweeper: optuna has nothing to search; allowed: KEY=VALUE,VALUE, KEY=interval(LOW,HIGH), "
                "KEY=tag(log,interval(LOW,HIGH))"
            )
        lists = {key: values for key, values in self._dimensions.items() if isinstance(values, list)}
        grid = settings.sampler == "grid"
        if grid and (strange := sorted(self._dimensions.keys() - lists)):
            raise UsageError(
                f"{strange[0]}: got an interval, allowed with hydra.sweeper.sampler=grid: a list of values"
            )
        size = math.prod(map(len, lists.values())) if grid else settings.n_trials
        self._left = min(size, settings.n_trials)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = SAMPLERS[settings.sampler](optuna, settings.sampler_seed, lists)
        self._study = optuna.create_study(
            direction=f"{'min' if settings.better == 'lower' else 'max'}imize", sampler=sampler
        )

    def ends(self) -> Iterator[list[str]]:
        """Sweeps that tell, before any is made, whether trials can be: each member of a group with the ends of all else."""
        for end in (0, -1):
            values = {
                key: found if isinstance(found, list) else [str(found.low), str(found.high)]
                for key, found in self._dimensions.items()
            }
            yield [*(f"{key}={','.join(v) if key in GROUPS else v[end]}" for key, v in values.items()), *self._fixed]

    def ask(self) -> list[Trial]:
        """The next trials, as many as are made at once; none when the search is over."""
        asked = [self._study.ask() for _ in range(min(self._left, self._settings.n_jobs))]
        self._left -= len(asked)
        return [self._trial(trial) for trial in asked]

    def _trial(self, trial) -> Trial:
        chosen = tuple(f"{key}={self._suggest(trial, key, found)}" for key, found in self._dimensions.items())
        return Trial(trial, chosen, (*chosen, *self._fixed))

    @staticmethod
    def _suggest(trial, key: str, found: list[str] | Interval) -> Any:
        if isinstance(found, list):
            return trial.suggest_categorical(key, found)
        suggest = trial.suggest_int if isinstance(found.low, int) else trial.suggest_float
        return suggest(key, found.low, found.high, log=found.log)

    def tell(self, trial: Trial, runs: Sequence[Run]) -> str:
        """Tell Optuna how the runs of a trial ended, and say it in one line. One that diverged is worse than all that did not."""
        metric, states = self._settings.metric, self._optuna.trial.TrialState
        found = [state(run.directory(Path(run.config["runs"]))) for run in runs]
        ended = {one.status for one in found}
        if ended == {"done"}:
            for one in found:
                if metric not in one.summary["final"]:
                    raise UsageError(
                        f"hydra.sweeper.metric: got {metric!r}, allowed: {', '.join(sorted(one.summary['final']))}"
                    )
            value = sum(one.summary["final"][metric] for one in found) / len(found)
            with contextlib.suppress(
                RuntimeError
            ):  # a grid that is complete asks to stop, which only study.optimize can
                self._study.tell(trial.optuna, value)
            return f"{' '.join(trial.chosen)}: {metric} {value:.6g}"
        with contextlib.suppress(RuntimeError):
            self._study.tell(trial.optuna, state=states.PRUNED if ended <= {"done", "diverged"} else states.FAIL)
        return f"{' '.join(trial.chosen)}: {', '.join(sorted(ended - {'done'}))}"

    def best(self) -> str:
        """The best trial in one line."""
        finished = [trial for trial in self._study.trials if trial.value is not None]
        if not finished:
            return f"no trial of {len(self._study.trials)} finished"
        best = self._study.best_trial
        chosen = " ".join(f"{key}={value}" for key, value in best.params.items())
        return f"best of {len(self._study.trials)} trials: {chosen}: {self._settings.metric} {best.value:.6g}"


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, both reals or both whole numbers; on a logarithmic scale or not."""

    low: float
    high: float
    log: bool


def searched(override) -> bool:
    return override.is_sweep_override() and override.get_key_element() != REPEATED


def dimension(override) -> list[str] | Interval:
    """The values of a setting as they are written, or the interval they come from. Raises UsageError."""
    if override.is_discrete_sweep():
        return list(override.sweep_string_iterator())
    swept = override.value()
    found = Interval(swept.start, swept.end, "log" in swept.tags)
    if not found.low < found.high or (found.log and found.low <= 0):
        raise UsageError(
            f"{override.input_line}: allowed: interval(LOW,HIGH) with LOW below HIGH, above 0 on a logarithmic scale"
        )
    return found
