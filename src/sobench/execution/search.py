"""Hyperparameter search with Optuna: a swept setting is a dimension, a trial is a sweep over seeds and cells.

No torch.

    optimizer=sgd,adam optimizer.lr=tag(log,interval(1e-4,1)) seed=0,1      two dimensions, a trial is two runs

The study lives in memory; the run directories are its record. With the same seed, the sampler proposes the same trials
as long as it gets the same values. So the same command, after an interruption, reaches the point of the interruption
without training anything again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sobench.config import advice
from sobench.config.files import GROUPS
from sobench.config.hydra_private import Interval, Override, parse_overrides, readable_errors
from sobench.config.run import Run
from sobench.errors import UsageError
from sobench.results.state import state

if TYPE_CHECKING:
    from omegaconf import DictConfig

REPEATED = "seed"
"""A key that is swept but not searched: every trial runs all of its values."""

SAMPLERS: dict[str, Callable[..., Any]] = {
    "tpe": lambda optuna, seed, space: optuna.samplers.TPESampler(seed=seed),
    "random": lambda optuna, seed, space: optuna.samplers.RandomSampler(seed=seed),
    "grid": lambda optuna, seed, space: optuna.samplers.GridSampler(space),
}


@dataclass(frozen=True)
class Trial:
    """A trial of Optuna's, the settings it chose, and all overrides of its sweep."""

    optuna: Any
    chosen: tuple[str, ...]
    overrides: tuple[str, ...]

    @property
    def number(self) -> int:
        return self.optuna.number


class OptunaSearch:
    """A study over what `overrides` sweep, with `settings`, the node hydra.sweeper.

    Raises UsageError for what cannot be searched.
    """

    def __init__(self, settings: DictConfig, overrides: Sequence[str]):
        import optuna

        with readable_errors(overrides):
            parsed = parse_overrides(overrides)
        self._settings, self._optuna = settings, optuna
        self._dimensions = {override.key: dimension(override) for override in parsed if is_searched(override)}
        self._fixed = tuple(override.text for override in parsed if not is_searched(override))
        if not self._dimensions:
            raise UsageError(
                "hydra/sweeper: optuna has nothing to search; allowed: KEY=VALUE,VALUE, KEY=interval(LOW,HIGH), "
                "KEY=tag(log,interval(LOW,HIGH))"
            )
        lists = {key: values for key, values in self._dimensions.items() if isinstance(values, list)}
        if settings.sampler == "grid":
            if intervals := sorted(self._dimensions.keys() - lists):
                raise UsageError(
                    f"{intervals[0]}: got an interval, allowed with hydra.sweeper.sampler=grid: a list of values"
                )
            self._left = min(math.prod(map(len, lists.values())), settings.n_trials)
        else:
            self._left = settings.n_trials
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # pyright: ignore[reportPrivateImportUsage] - documented there
        sampler = SAMPLERS[settings.sampler](optuna, settings.sampler_seed, lists)
        direction = "minimize" if settings.better == "lower" else "maximize"
        self._study = optuna.create_study(direction=direction, sampler=sampler)

    def corners(self) -> Iterator[list[str]]:
        """The overrides of two sweeps that show before the first trial whether trials can run.

        Each sweeps all members of the config groups, with the first or with the last value of every other dimension.
        """
        for end in (0, -1):
            overrides = []
            for key, values in self._dimensions.items():
                ends = values if isinstance(values, list) else [str(values.low), str(values.high)]
                overrides.append(f"{key}={','.join(ends) if key in GROUPS else ends[end]}")
            yield [*overrides, *self._fixed]

    def ask(self) -> list[Trial]:
        """The next trials, `n_jobs` of them or what is left; none when the search is over."""
        trials = [self._study.ask() for _ in range(min(self._left, self._settings.n_jobs))]
        self._left -= len(trials)
        return [self._trial(trial) for trial in trials]

    def _trial(self, trial: Any) -> Trial:
        chosen = tuple(f"{key}={self._suggest(trial, key, values)}" for key, values in self._dimensions.items())
        return Trial(trial, chosen, (*chosen, *self._fixed))

    @staticmethod
    def _suggest(trial: Any, key: str, values: list[str] | Interval) -> Any:
        if isinstance(values, list):
            return trial.suggest_categorical(key, values)
        suggest = trial.suggest_int if isinstance(values.low, int) else trial.suggest_float
        return suggest(key, values.low, values.high, log=values.log)

    def tell(self, trial: Trial, runs: Sequence[Run]) -> str:
        """Report the outcome of a trial's runs to Optuna; returns it in one line.

        A trial with a diverged run counts as pruned. Raises UsageError if the metric is none of the runs' final
        figures.
        """
        metric, states = self._settings.metric, self._optuna.trial.TrialState
        outcomes = [state(run.directory(Path(run.config["runs"]))) for run in runs]
        statuses = {outcome.status for outcome in outcomes}
        chosen = " ".join(trial.chosen)
        if statuses != {"done"}:
            with contextlib.suppress(RuntimeError):
                self._study.tell(trial.optuna, state=states.PRUNED if statuses <= {"done", "diverged"} else states.FAIL)
            return f"{chosen}: {', '.join(sorted(statuses - {'done'}))}"
        finals = [outcome.summary["final"] for outcome in outcomes if outcome.summary]
        for final in finals:
            if metric not in final:
                raise UsageError(f"hydra.sweeper.metric: got {metric!r}, allowed: {', '.join(sorted(final))}")
        value = sum(final[metric] for final in finals) / len(finals)
        with contextlib.suppress(RuntimeError):  # a complete grid asks to stop, which only study.optimize can
            self._study.tell(trial.optuna, value)
        return f"{chosen}: {metric} {value:.6g}"

    def best(self) -> str:
        """The best trial in one line."""
        finished = [trial for trial in self._study.trials if trial.value is not None]
        if not finished:
            return f"no trial of {len(self._study.trials)} finished"
        best = self._study.best_trial
        chosen = " ".join(f"{key}={value}" for key, value in best.params.items())
        return f"best of {len(self._study.trials)} trials: {chosen}: {self._settings.metric} {best.value:.6g}"


def is_searched(override: Override) -> bool:
    """Whether an override is a dimension of the search."""
    return override.is_sweep and override.key != REPEATED


def dimension(override: Override) -> list[str] | Interval:
    """The values of a swept setting, as they are written, or the interval they come from. Raises UsageError."""
    if override.is_discrete:
        advice.check_sweep(override.key, [f"{override.key}={value}" for value in override.values()])
        return override.values()
    interval = override.interval()
    if not interval.low < interval.high or (interval.log and interval.low <= 0):
        raise UsageError(
            f"{override.text}: allowed: interval(LOW,HIGH) with LOW below HIGH, above 0 on a logarithmic scale"
        )
    return interval
