"""Validation of a configuration: every key is known, every value has its type and is in its range. No torch.

The rules of settings are in RULES, those of hyperparameters in `sobench.config.rules`. Those of a plug-in are on its
class, or follow from its signature, see `sobench.config.signature`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sobench.config import extras, files, groups, match, registry, rules, signature
from sobench.config.files import GROUPS, group_defaults, members, read
from sobench.config.rules import COUNT, FLAG, FOLDER, NON_NEGATIVE, POSITIVE, SECONDS, UNIT, Rule, choice, optional
from sobench.errors import UsageError
from sobench.system.text import either

WIDTHS = Rule((list,), "a list of whole numbers of at least 1", lambda v: all(COUNT.accepts(w) for w in v))
RULES: dict[str, Rule] = {
    "seed": Rule((int,), "a whole number from 0 to 2**63 - 1", lambda v: 0 <= v < 2**63),
    "batch_size": COUNT,
    "drop_last": FLAG,
    "batches": choice("reshuffled", "fixed"),
    "validation": UNIT,
    "convergence.change": optional(POSITIVE),
    "convergence.evaluations": COUNT,
    "metrics": Rule((list,), "a list, as [mine.py:macro_f1]", lambda v: all(isinstance(name, str) for name in v)),
    "init": choice("default", "lecun_normal"),
    "l2": NON_NEGATIVE,
    "dtype": choice("float32", "float64"),
    "device": Rule((str,), "cpu, cuda or cuda:N", lambda v: re.fullmatch(r"cpu|cuda(:\d+)?", v) is not None),
    "evaluate.every": COUNT,
    "evaluate.steps": optional(COUNT),
    "log.every": COUNT,
    "threads": optional(COUNT),
    "gpu.per_run": Rule((int, float), "a number above 0 and at most 1", lambda v: 0 < v <= 1),
    "isolate": Rule((bool, str), "auto, true or false", lambda v: v in (True, False, "auto")),
    "slots": optional(FOLDER),
    "wait": Rule((bool, str), "auto, true or false", lambda v: v in (True, False, "auto")),
    "checkpoint.seconds": NON_NEGATIVE,
    "timeout": optional(SECONDS),
    "longest_step": optional(POSITIVE),
    "rerun": choice("none", "stale"),
    "progress": FLAG,
    "runs": FOLDER,
    "reports": FOLDER,
    "data.mirror": optional(FOLDER),
    "data.cache": optional(FOLDER),
    "budget.epochs": optional(POSITIVE),
    "budget.steps": optional(COUNT),
    "budget.seconds": optional(POSITIVE),
    "budget.dense_steps": optional(COUNT),
    "budget.long_epochs": optional(POSITIVE),
    "budget.long_seconds": optional(POSITIVE),
    "budget.samples": optional(COUNT),
    "budget.grid": choice("whole", "first"),
    "model.widths": WIDTHS,
    "model.classifier": WIDTHS,
    "model.code": COUNT,
    "model.free": COUNT,
    "instrument.partition": rules.PARTITION,
    "instrument.lambda_int": NON_NEGATIVE,
    "instrument.points": Rule((int,), "a whole number of at least 2", lambda v: v >= 2),
    "instrument.radius": POSITIVE,
    "instrument.repeats": COUNT,
    "model.activation": choice("relu", "tanh", "sigmoid", "elu", "softplus", "sin", "none"),
    "model.target": choice("label", "binary", "input"),
    "model.pooling": choice("max", "average"),
    "model.width": COUNT,
    "model.depth": COUNT,
    "model.hidden": COUNT,
    "model.layers": COUNT,
    "model.dropout": UNIT,
    "model.patch": COUNT,
    "model.heads": COUNT,
    "model.expansion": COUNT,
    "dataset.shape": Rule(
        (list,), "a list of whole numbers of at least 1, as [3,32,32]", lambda v: v and all(COUNT.accepts(n) for n in v)
    ),
    "dataset.classes": COUNT,
    "dataset.train": COUNT,
    "dataset.test": COUNT,
    "dataset.solution": choice("sines", "cosines"),
    "dataset.interior": COUNT,
    "dataset.boundary": COUNT,
    "dataset.vocabulary": COUNT,
    "dataset.length": COUNT,
    "dataset.vectors": optional(Rule((str,), "glove or the path of a file", lambda v: v.strip() != "")),
    "dataset.dimension": COUNT,
    "dataset.split_seed": Rule((int,), "a whole number of at least 0", lambda v: v >= 0),
    "schedule.period": COUNT,
    "schedule.gamma": POSITIVE,
    "schedule.epochs": POSITIVE,
    "schedule.every": choice("epoch", "step"),
    "schedule.warmup": UNIT,
    "schedule.decay": Rule((int, float), "a number above 0 and at most 1", lambda v: 0 < v <= 1),
    "schedule.final": Rule((int, float), "a number in [0, 1]", lambda v: 0 <= v <= 1),
    "schedule.shape": choice("linear", "sqrt"),
    "logger.mode": choice("online", "offline", "disabled"),
    "logger.project": Rule(
        (str,), "a name without any of / \\ # ? % :", lambda v: re.fullmatch(r"[^/\\#?%:]{1,128}", v) is not None
    ),
    "logger.entity": optional(rules.TEXT),
    "logger.tags": optional(
        Rule((str, list), "words, as [a, b]", lambda v: all(isinstance(word, (str, int)) for word in v))
    ),
    "logger.notes": optional(rules.TEXT),
    "logger.timeout": SECONDS,
}

GROUPS_KEY = f"optimizer.{groups.KEY}"
"""The parameter groups of the run's optimizer."""
GROUPS_RULE = Rule(
    (list,), '[{match: "EXPRESSION", SETTING: VALUE}, ...], as [{match: "bias or norm", lr: 0.1}]', optional=True
)

COMPANIONS = "instrument.companions"
"""The optimizers beside the run's own, {label: settings of one}."""


def validate(settings: dict[str, Any]) -> None:
    """Raises UsageError for an unknown key, a wrong type or a value out of range, anywhere."""
    known = read(files.conf_dir() / files.PRIMARY)
    _check_keys("", settings, {*known, *GROUPS, "experiment"} - {"defaults", "hydra"})
    _check_complete("", settings, known.keys() - {"defaults", "hydra"})
    for group in GROUPS:
        if not (isinstance(chosen := settings.get(group), dict) and isinstance(chosen.get("name"), str)):
            chosen = None if chosen == {"groups": []} else chosen  # what conf/config.yaml adds to an optimizer
            raise UsageError(f"{group}: got {chosen!r}, {files.suggestion_for(group, chosen)}")
    rules.check("metrics", settings["metrics"], RULES["metrics"])
    for key in registry.KINDS:
        files.warn_of_hidden(key)
    for _, kind, name in registry.chosen(settings):
        registry.check_name(kind, name)
    for key, default in known.items():
        if key not in ("defaults", "hydra", "budgets", "loss", *GROUPS):
            _check(key, settings[key], default)
    for group in GROUPS:
        if group == "optimizer":
            _check_optimizer("optimizer", groups.own(settings["optimizer"]))
            _check_groups(settings["optimizer"])
        elif group == "logger":
            _check_loggers(settings["logger"])
        elif registry.is_plugin(group, settings[group]["name"]):
            _check_plugin(group, settings[group])
        else:
            _check(group, settings[group], group_defaults(group, settings[group]["name"]))
    limits = {name: group_defaults("budget", name) for name in members("budget")}
    _check(
        "budgets",
        settings["budgets"],
        {name: {k: v for k, v in node.items() if k != "name"} for name, node in limits.items()},
    )
    budget = settings["budget"]
    if budget["epochs"] is None and budget["steps"] is None and budget["seconds"] is None:
        raise UsageError(
            f"budget: {budget['name']!r} sets no limit here, allowed: budget.epochs, budget.steps or budget.seconds"
        )


def _check_keys(prefix: str, settings: Mapping, allowed) -> None:
    for key in settings:
        if key not in allowed:
            listing = files.listing_of_keys(prefix.removesuffix("."), settings.get("name"))
            raise UsageError(f"{prefix}{key}: no such key, {registry.suggestion(key, allowed, listing)}")


def _check_complete(prefix: str, settings: Mapping, required) -> None:
    for key in required:
        if key not in settings:
            raise UsageError(f"{prefix}{key}: must be given; ~{prefix}{key} removes it")


def _check(key: str, value: Any, default: Any) -> None:
    """One node against the node of the same place in the defaults."""
    if key == COMPANIONS:
        _check_companions(value)
    elif isinstance(default, dict):
        if not isinstance(value, dict):
            raise UsageError(f"{key}: got {value!r}, allowed: the keys {', '.join(default)}")
        _check_keys(f"{key}.", value, default)
        if not key.startswith("budgets"):  # an experiment states what it changes
            _check_complete(f"{key}.", value, default)
        for name in value:
            _check(f"{key}.{name}", value[name], default[name])
    else:
        rules.check(key, value, RULES.get(key) or _like(default))


def loggers(settings: Mapping[str, Any]) -> list[str]:
    """The names of the loggers that the settings of the group choose: one, or several at once as logger=[csv,wandb]."""
    copies = settings.get("copies", {settings["name"]: True})
    return [name for name, chosen in copies.items() if chosen and name != "none"]


def _check_loggers(settings: Mapping[str, Any]) -> None:
    """The settings of the chosen loggers, which Hydra has merged."""
    names = dict.fromkeys([settings["name"], *(settings.get("copies") or ())])
    parts = [group_defaults("logger", name) for name in names]
    defaults = {key: value for part in parts for key, value in part.items()}
    copies = {name: True for part in parts for name in part.get("copies", ())}
    defaults |= {"copies": copies} if "copies" in defaults else {}
    _check_keys("logger.", settings, defaults)
    _check_complete("logger.", settings, defaults)
    plugins = [name for name in names if registry.is_plugin("logger", name)]
    own = {key: rule for name in plugins for key, rule in signature.rules_of("logger", name).items()}
    for key, rule in own.items():
        rules.check(f"logger.{key}", settings[key], rule)
    _check("logger", *({key: value for key, value in part.items() if key not in own} for part in (settings, defaults)))
    for name in loggers(settings):
        extras.check_installed("logger", name)


def _check_companions(companions: Any) -> None:
    """The optimizers beside the run's own, each with the rules of its own hyperparameters."""
    if not isinstance(companions, dict):
        raise UsageError(f"{COMPANIONS}: got {companions!r}, allowed: an optimizer's settings for each label")
    for label, settings in companions.items():
        if not (isinstance(settings, dict) and isinstance(settings.get("name"), str)):
            raise UsageError(f"{COMPANIONS}.{label}: got {settings!r}, allowed: +optimizer@{COMPANIONS}.{label}=NAME")
        registry.check_name("optimizers", settings["name"])
        if groups.groups_of(settings):
            raise UsageError(f"{COMPANIONS}.{label}.{groups.KEY}: a companion moves the whole model; allowed: null")
        _check_optimizer(f"{COMPANIONS}.{label}", groups.own(settings))


def _check_plugin(group: str, settings: Mapping[str, Any]) -> None:
    """The settings of a plug-in that is no optimizer."""
    defaults = group_defaults(group, settings["name"])
    _check_keys(f"{group}.", settings, defaults)
    _check_complete(f"{group}.", settings, defaults)
    for key, value in settings.items():
        rules.check(f"{group}.{key}", value, _plugin_rule(group, settings["name"], key, defaults[key]))


def _plugin_rule(group: str, name: str, key: str, default: Any) -> Rule:
    """The rule of a setting of a plug-in that is no optimizer; sobench's own keys, as model.loss, keep their rules."""
    ours = RULES.get(f"{group}.{key}") if key in signature.RESERVED[group] else None
    return signature.rules_of(group, name).get(key) or ours or _like(default)


def _check_optimizer(key: str, settings: Mapping[str, Any]) -> None:
    """The settings of one optimizer, at `key`."""
    defaults = group_defaults("optimizer", settings["name"])
    own = signature.declared_rules("optimizer", settings["name"])
    _check_keys(f"{key}.", settings, defaults)
    _check_complete(f"{key}.", settings, defaults)
    for name, value in settings.items():
        if isinstance(defaults[name], dict) and name not in own:
            _check(f"{key}.{name}", value, defaults[name])
        else:
            rules.check(f"{key}.{name}", value, _hyperparameter_rule(name, defaults[name], own))


def _check_groups(optimizer: Mapping[str, Any]) -> None:
    """The parameter groups of the run's optimizer: their expressions, and the settings of each as its optimizer's."""
    rules.check(GROUPS_KEY, optimizer.get(groups.KEY), GROUPS_RULE)
    own, stated = groups.own(optimizer), groups.groups_of(optimizer)
    for number, group in enumerate(stated):
        key = f"{GROUPS_KEY}[{number}]"
        if not isinstance(group, dict):
            raise UsageError(f"{key}: got {group!r}, allowed: {{match: EXPRESSION, optimizer: NAME, SETTING: VALUE}}")
        if not isinstance(group.get("match"), str):
            raise UsageError(f"{key}.match: got {group.get('match')!r}, allowed: {match.ALLOWED}")
        match.parse(group["match"], f"{key}.match")
        if group["match"].strip() == match.REST and number < len(stated) - 1:
            raise UsageError(f"{key}.match: {match.REST} takes all parameters; allowed: {match.REST} in the last group")
        if "name" in group:
            raise UsageError(f"{key}.name: no such key, did you mean {key}.optimizer={group['name']}?")
        name = group.get("optimizer", own["name"])
        if not files.is_member("optimizer", name):
            raise UsageError(f"{key}.optimizer: got {name!r}, {files.suggestion_for('optimizer', name)}")
        if not isinstance(group.get(groups.DEFAULTS, {}), dict):
            raise UsageError(f"{key}.{groups.DEFAULTS}: got {group[groups.DEFAULTS]!r}, allowed: keys and values")
        settings = groups.settings_of(group, optimizer)
        registry.check_name("optimizers", settings["name"])
        _check_keys(f"{key}.", group, {*group_defaults("optimizer", settings["name"]), *groups.OWN_KEYS} - {"name"})
        _check_optimizer(key, settings)
        if missing := [name for name, value in settings.items() if value == "???"]:
            raise UsageError(f"{key}.{missing[0]}: must be given, there is no default")
    takes_rest = bool(stated) and stated[-1]["match"].strip() == match.REST
    if takes_rest and own["name"] not in {groups.settings_of(group, optimizer)["name"] for group in stated}:
        others = [name for name in groups.optimizers(optimizer) if name != own["name"]]
        raise UsageError(
            f"optimizer: got {own['name']!r}, which has no parameters: each group has another optimizer; allowed: "
            f"{either(f'optimizer={name}' for name in others)}"
        )


def rule_of(group: str, name: str, key: str) -> Rule:
    """The rule of a setting of a config group's member."""
    default = group_defaults(group, name)[key]
    if group == "optimizer":
        return _hyperparameter_rule(key, default, signature.declared_rules(group, name))
    if registry.is_plugin(group, name):
        return _plugin_rule(group, name, key, default)
    return RULES.get(f"{group}.{key}") or _like(default)


def _hyperparameter_rule(name: str, default: Any, own: Mapping[str, Rule]) -> Rule:
    """The optimizer's own rule, else the common one, else the type of the default.

    The common rule is left out where a plug-in's default breaks it, as the name then means something else there.
    Without any rule a number may be any number: `rho: int = 0` may be meant as 0.0.
    """
    if name in own:
        return own[name]
    common = rules.COMMON.get(name)
    if common and (default == "???" or common.accepts(default)):
        return common
    return rules.NUMBER if type(default) is int else _like(default)


def _like(default: Any) -> Rule:
    """The rule of a key that has none of its own: the type of its default."""
    if isinstance(default, str) and "${" in default or default is None or default == "???":
        return Rule((object,), "anything", optional=True)
    if isinstance(default, bool):
        return FLAG
    if isinstance(default, (int, float)):
        return rules.NUMBER if isinstance(default, float) else Rule((int,), "a whole number")
    if isinstance(default, list):
        return Rule((list,), f"a list of {len(default)}", lambda v: len(v) == len(default))
    return rules.TEXT
