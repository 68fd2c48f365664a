"""Rules: the values that a setting may take. No torch.

A `Rule` tests one value and describes the allowed ones for the message `key: got X, allowed: Y`. The rule of a setting
is in

    sobench.config.validation.RULES   every setting that is not an optimizer's
    COMMON                            hyperparameters that mean the same in every optimizer of the field
    OPTIMIZER_RULES                   the other hyperparameters of the built-in optimizers, one table for each
    the `rules` of a plug-in's class  the other hyperparameters of that plug-in

A name is reserved by COMMON alone: `layers` is a word in kernel_sgd and may be a number in a plug-in.

The tables of the built-in optimizers are here and not in their modules because a configuration is checked without
importing torch, and because a changed range is no change of the method: the fingerprint of its code does not cover it.
Each class refers to its table next to `requires`, so that its constructor enforces the same rules.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sobench.errors import UsageError
from sobench.system.text import either


@dataclass(frozen=True)
class Rule:
    """The values that one setting may take.

    types: the classes of a value; a bool counts as a number only if bool is among them, and NaN never passes. allowed:
    the values in words, for the message. holds: the test of a value of one of `types`. optional: None passes too.
    choices: the values one by one, where they can be listed; `sobench check` tries them. A configuration holds a
    sequence as a list and a constructor receives it as a tuple, so the rule of a sequence has the types (list, tuple).
    """

    types: tuple[type, ...]
    allowed: str
    holds: Callable[[Any], bool] = lambda value: True
    optional: bool = False
    choices: tuple[Any, ...] = ()

    def accepts(self, value: Any) -> bool:
        """Whether a setting may take this value."""
        if value is None:
            return self.optional
        if isinstance(value, bool) and bool not in self.types:
            return False
        if isinstance(value, float) and math.isnan(value):
            return False
        return isinstance(value, self.types) and self.holds(value)


POSITIVE = Rule((int, float), "a number above 0", lambda v: 0 < v < math.inf)
SECONDS = Rule(
    (int, float), "a number of seconds above 0, at most 1e8", lambda v: 0 < v <= 1e8
)  # timers end at 2^63 ns
NON_NEGATIVE = Rule((int, float), "a number of at least 0", lambda v: 0 <= v < math.inf)
UNIT = Rule((int, float), "a number in [0, 1)", lambda v: 0 <= v < 1)
OPEN_UNIT = Rule((int, float), "a number above 0 and below 1", lambda v: 0 < v < 1)
COUNT = Rule((int,), "a whole number of at least 1", lambda v: v >= 1)
NUMBER = Rule((int, float), "a number", math.isfinite)
FLAG = Rule((bool,), "true or false")
TEXT = Rule((str,), "a name")
FOLDER = Rule((str,), "the path of a folder", lambda v: v.strip() != "")


def optional(rule: Rule) -> Rule:
    """The same rule, and null."""
    return Rule(rule.types, f"{rule.allowed}, or null", rule.holds, optional=True, choices=rule.choices)


def choice(*names: str) -> Rule:
    """One of these names."""
    return Rule((str,), either(names), lambda v: v in names, choices=names)


PARTITIONS = ("canonical", "trivial", "discrete", "kinds", "depth")
PARTITION = Rule(
    (str, dict),
    "canonical, trivial, discrete, kinds, depth, or {group: [names of tensors]}",
    lambda v: v in PARTITIONS if isinstance(v, str) else len(v) > 0,
    choices=PARTITIONS,
)

COMMON: Mapping[str, Rule] = {
    "lr": POSITIVE,
    "momentum": UNIT,
    "dampening": UNIT,
    "weight_decay": NON_NEGATIVE,
    "damping": NON_NEGATIVE,
    "eps": NON_NEGATIVE,
}
"""Hyperparameters whose meaning and range is the same in every optimizer; an optimizer's own rule goes before."""

# Families of the built-in optimizers

_STATISTICS = {"stats_decay": UNIT, "stats_period": COUNT, "inverse_period": COUNT, "early_inverses": FLAG}
"""Methods that average statistics and invert them every so many steps: K-FAC, TNT, Shampoo."""

_FISHER = choice("true", "empirical")

_LEVENBERG_MARQUARDT = {
    "tau": NON_NEGATIVE,
    "boost": Rule((int, float), "a number of at least 1", lambda v: 1 <= v < math.inf),
    "drop": Rule((int, float), "a number in (0, 1]", lambda v: 0 < v <= 1),
}
"""Methods that adapt their damping."""

_SHARING = {"sharing": choice("expand", "reduce")}
"""Methods with Kronecker factors: how they treat weights that several locations share."""

_CG = {"cg_iterations": COUNT, "cg_tol": NON_NEGATIVE}

_SMW = {**_LEVENBERG_MARQUARDT, "curvature_batch": optional(COUNT)}

_KBFGS = {
    **_SHARING,
    "damping": POSITIVE,
    "stats_decay": UNIT,
    "curvature_period": COUNT,
    "mu1": OPEN_UNIT,
    "powell": choice("lm", "double"),
    "action": choice("minibatch", "average"),
    "start": choice("inverse", "identity"),
    "bias_input": choice("one", "mean"),
    "double_gradient": FLAG,
}
_KBFGS_L = {**_KBFGS, "history": COUNT}

OPTIMIZER_RULES: Mapping[str, Mapping[str, Rule]] = {
    # of torch; what is not here takes the type of its default
    "sgd": {},
    "adam": {},
    "rmsprop": {"alpha": UNIT},
    "adagrad": {"lr_decay": NON_NEGATIVE},
    "lbfgs": {
        "max_iter": COUNT,
        "max_eval": optional(COUNT),
        "tolerance_grad": NON_NEGATIVE,
        "tolerance_change": NON_NEGATIVE,
        "history_size": COUNT,
        "line_search_fn": optional(choice("strong_wolfe")),
    },
    # ours
    "sgdw": {},
    "newton": {},
    "damped_newton": {},
    "hf_newton": _CG,
    "hf_gauss_newton": _CG,
    "hessian_free": {**_LEVENBERG_MARQUARDT, **_CG, "cg_decay": UNIT, "curvature_batch": optional(COUNT)},
    "kfac": {
        **_STATISTICS,
        **_SHARING,
        **_LEVENBERG_MARQUARDT,
        "fisher": _FISHER,
        "split": choice("balanced", "equal"),
        "damping_rule": choice("fixed", "levenberg_marquardt"),
    },
    "tnt": {**_STATISTICS, "fisher": _FISHER},
    "shampoo": {**_STATISTICS, "roots": choice("auto", "newton", "eigen")},
    "block_fisher": {"stats_decay": UNIT},
    "kbfgs": _KBFGS,
    "kbfgs_l": _KBFGS_L,
    "kbfgs20": _KBFGS,
    "kbfgs20_l": _KBFGS_L,
    "smw_gn": _SMW,
    "smw_ng": _SMW,
    "smw_ng_bd": _SMW,
    "kernel_sgd": {
        "kernel": choice("rbf", "linear", "polynomial", "random_psd"),
        "gamma": POSITIVE,
        "degree": COUNT,
        "layers": choice("last", "all"),
        "redraw": FLAG,
    },
    "adahessian": {
        "betas": Rule(
            (list, tuple), "two numbers in [0, 1)", lambda v: len(v) == 2 and all(UNIT.accepts(beta) for beta in v)
        ),
        "hessian_power": Rule((int, float), "a number from 0 to 1", lambda v: 0 <= v <= 1),
        "probes": COUNT,
        "curvature_period": COUNT,
    },
    "esgd": {"curvature_period": COUNT},
    "robust_lbfgs": {
        "history": COUNT,
        "overlap": Rule((int, float), "a number above 0 and at most 1", lambda v: 0 < v <= 1),
        "cautious": NON_NEGATIVE,
    },
    "newton_summary": {
        "lambda_int": NON_NEGATIVE,
        "partition": PARTITION,
        "curvature_period": COUNT,
        "curvature_batch": optional(COUNT),
        "average": choice("eta", "terms"),
        "stats_decay": UNIT,
        "clip": FLAG,
        "diagonal": FLAG,
    },
    "newton_krylov": {
        **_CG,
        "solver": choice("cg", "lscg", "levenberg_marquardt"),
        "early_termination": FLAG,
        "curvature": choice("complex_step", "autograd", "forward_difference"),
        "h": optional(POSITIVE),
        "step_rule": choice("taylor", "backtracking"),
        "taylor_ratio": POSITIVE,
        "tries": COUNT,
        "screening": FLAG,
        "full_batch": FLAG,
        "global_period": COUNT,
    },
}
"""{name of a built-in optimizer: {hyperparameter: rule}}, without those of COMMON."""


def check(key: str, value: Any, rule: Rule) -> None:
    """Raises UsageError: one line with the key, the value and the allowed values."""
    if not rule.accepts(value):
        raise UsageError(f"{key}: got {value!r}, allowed: {rule.allowed}{_range(key, value, rule)}")


def _range(key: str, value: Any, rule: Rule) -> str:
    """The sweep over whole numbers that a text such as "0-4" or "0..4" means, as the end of a message."""
    ends = re.fullmatch(r"(\d+)(?:-|:|\.\.\.?)(\d+)", value) if isinstance(value, str) and int in rule.types else None
    return f"; a range of values: -m '{key}=range({ends[1]},{int(ends[2]) + 1})'" if ends else ""
