"""What values a setting may take, by its name: one table for the configuration files and the constructors. No torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sobench.errors import UsageError


@dataclass(frozen=True)
class Rule:
    """allowed: in words, for the message; holds: the test of a value of one of `types`."""

    types: tuple[type, ...]
    allowed: str
    holds: Callable[[Any], bool] = lambda value: True
    optional: bool = False

    def accepts(self, value: Any) -> bool:
        if value is None:
            return self.optional
        if isinstance(value, bool) and bool not in self.types:
            return False
        if isinstance(value, float) and math.isnan(value):
            return False
        return isinstance(value, self.types) and self.holds(value)


POSITIVE = Rule((int, float), "a number above 0", lambda v: 0 < v < math.inf)
NON_NEGATIVE = Rule((int, float), "a number of at least 0", lambda v: 0 <= v < math.inf)
UNIT = Rule((int, float), "a number in [0, 1)", lambda v: 0 <= v < 1)
OPEN_UNIT = Rule((int, float), "a number above 0 and below 1", lambda v: 0 < v < 1)
COUNT = Rule((int,), "a whole number of at least 1", lambda v: v >= 1)
NUMBER = Rule((int, float), "a number", math.isfinite)
FLAG = Rule((bool,), "true or false")
TEXT = Rule((str,), "a name")
FOLDER = Rule((str,), "the path of a folder", lambda v: v.strip() != "")


def optional(rule: Rule) -> Rule:
    return Rule(rule.types, f"{rule.allowed}, or null", rule.holds, optional=True)


def choice(*names: str) -> Rule:
    return Rule(
        (str,), " or ".join([", ".join(names[:-1]), names[-1]]) if names[1:] else names[0], lambda v: v in names
    )


PARTITIONS = ("canonical", "trivial", "discrete", "kinds", "depth")

HYPERPARAMETERS: dict[str, Rule] = {
    "lr": POSITIVE,
    "momentum": UNIT,
    "dampening": UNIT,
    "weight_decay": NON_NEGATIVE,
    "damping": NON_NEGATIVE,
    "stats_decay": UNIT,
    "stats_period": COUNT,
    "inverse_period": COUNT,
    "curvature_period": COUNT,
    "mu1": OPEN_UNIT,
    "powell": choice("lm", "double"),
    "action": choice("minibatch", "average"),
    "start": choice("inverse", "identity"),
    "bias_input": choice("one", "mean"),
    "double_gradient": FLAG,
    "early_inverses": FLAG,
    "split": choice("balanced", "equal"),
    "roots": choice("auto", "newton", "eigen"),
    "history": COUNT,
    "history_size": COUNT,
    "fisher": choice("true", "empirical"),
    "boost": Rule((int, float), "a number of at least 1", lambda v: 1 <= v < math.inf),
    "drop": Rule((int, float), "a number in (0, 1]", lambda v: 0 < v <= 1),
    "tau": NON_NEGATIVE,
    "damping_rule": choice("fixed", "levenberg_marquardt"),
    "curvature_batch": optional(COUNT),
    "kernel": choice("rbf", "linear", "polynomial", "random_psd"),
    "gamma": POSITIVE,
    "degree": COUNT,
    "layers": choice("last", "all"),
    "redraw": FLAG,
    "lambda_int": NON_NEGATIVE,
    "partition": Rule(
        (str, dict),
        "canonical, trivial, discrete, kinds, depth, or {group: [names of tensors]}",
        lambda v: v in PARTITIONS if isinstance(v, str) else len(v) > 0,
    ),
    "average": choice("eta", "terms"),
    "clip": FLAG,
    "diagonal": FLAG,
    "taylor_ratio": POSITIVE,
    "curvature": choice("complex_step", "autograd", "forward_difference"),
    "h": optional(POSITIVE),
    "solver": choice("cg", "lscg", "levenberg_marquardt"),
    "step_rule": choice("taylor", "backtracking"),
    "tries": COUNT,
    "screening": FLAG,
    "full_batch": FLAG,
    "global_period": COUNT,
    "cg_iterations": COUNT,
    "cg_tol": NON_NEGATIVE,
    "cg_decay": UNIT,
    "eps": NON_NEGATIVE,
    "hessian_power": Rule((int, float), "a number from 0 to 1", lambda v: 0 <= v <= 1),
    "probes": COUNT,
    "overlap": Rule((int, float), "a number above 0 and at most 1", lambda v: 0 < v <= 1),
    "cautious": NON_NEGATIVE,
    "alpha": UNIT,
    "lr_decay": NON_NEGATIVE,
    "max_iter": COUNT,
    "max_eval": optional(COUNT),
    "tolerance_grad": NON_NEGATIVE,
    "tolerance_change": NON_NEGATIVE,
    "line_search_fn": optional(choice("strong_wolfe")),
}
"""Hyperparameters by the words every optimizer shares (and torch's own words); other names are a plug-in's own affair."""


def check(key: str, value: Any, rule: Rule) -> None:
    """Raises UsageError: one line with the key, what it got and what is allowed."""
    if not rule.accepts(value):
        raise UsageError(f"{key}: got {value!r}, allowed: {rule.allowed}")


def check_hyperparameter(name: str, value: Any) -> None:
    """Raises UsageError if `name` is one of the shared words and `value` is out of its range."""
    if name in HYPERPARAMETERS:
        check(name, value, HYPERPARAMETERS[name])
