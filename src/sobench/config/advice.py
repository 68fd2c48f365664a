"""Wrong words of a command line, and what to write in place of them. No torch.

`check` refuses words that Hydra would take for something else than they mean. The other functions are the advice in the
message about a word that Hydra refuses.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise

from sobench.config import by_path, files, registry
from sobench.config.files import GROUPS, NOT_IDENTITY
from sobench.config.validation import GROUPS_KEY, GROUPS_RULE, RULES
from sobench.errors import UsageError
from sobench.system.text import either

SEVERAL = ("logger",)
"""The config groups of which several members can be chosen at once, as logger=[csv,tensorboard]."""


def check(words: Sequence[str]) -> None:
    """Raises UsageError for a setting that is written as an option, for one that is given twice, and for a list of
    members of a group that takes one."""
    check_options(words)
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.lstrip("+").partition("=")
        if not equals or key[:1] in "-~":
            continue
        if key in GROUPS and value.startswith("["):
            _check_members(key, value)
        if key in given:
            raise UsageError(f"{key}: given twice, {_once(key, given[key], value)}")
        given[key] = value


def _check_members(group: str, value: str) -> None:
    """Raises UsageError for the list of a group that takes one member, and for a member that cannot be in a list."""
    names = value.strip("[]").replace(" ", "")
    if group not in SEVERAL:
        raise UsageError(f"{group}: got {value}, allowed: one name; for a sweep: -m {group}={names}")
    for name in filter(None, names.split(",")):
        if not files.is_member(group, name):
            raise UsageError(f"{group}: got {name!r}, {files.suggestion_for(group, name)}")
        if name != "none" and name not in files.group_defaults(group, name).get("copies", ()):
            raise UsageError(f"{group}: got {value}, but conf/{group}/{name}.yaml has no `copies: {{{name}: true}}`")


def check_sweep(key: str, values: Sequence[str]) -> None:
    """Raises UsageError for several values of a setting that can change no result."""
    if len(values) > 1 and changes_nothing(key):
        all_values = ",".join(value.partition("=")[2] for value in values)
        both = f"; for all of them in each run: {key}=[{all_values}]" if key in SEVERAL else ""
        raise UsageError(
            f"{key}={all_values}: a sweep over what changes no result makes each run once, allowed: one value{both}"
        )


def _once(key: str, first: str, second: str) -> str:
    """The end of the message about a key with two values."""
    if first == second:
        return f"allowed: {key}={first} once"
    sweep = "" if changes_nothing(key) or key.startswith("hydra") else f"; for a sweep: -m {key}={first},{second}"
    return f"as {first} and {second}, allowed: one of them{sweep}"


def changes_nothing(key: str) -> bool:
    """Whether a setting can change no result, so that a sweep over it would make the same run again."""
    return key.partition(".")[0] in {*NOT_IDENTITY} - {"budgets", "experiment"}  # an experiment's budgets can


def check_options(words: Sequence[str]) -> None:
    """Raises UsageError for `--optimizer kfac` and `--lr=0.1`: an option whose name is that of a setting."""
    for word, following in pairwise([*words, ""]):
        option = re.fullmatch(r"--?([A-Za-z][\w./@]+)(=.*)?", word)
        paths = _meant(option[1], words) if option else []
        if option and paths:
            takes_next = not option[2] and following and "=" not in following and not following.startswith("-")
            value = following if takes_next else (option[2] or "=VALUE")[1:]
            text = f"{word} {following}" if takes_next else word
            raise UsageError(f"{text}: not an option, allowed: {either(f'{path}={value}' for path in paths)}")


def _meant(name: str, words: Sequence[str]) -> list[str]:
    """The settings that a name can mean: itself, if it is one, or those with this last part."""
    if name.partition(".")[0] in [*files.known_keys("", {}), "experiment"]:
        return [name]
    return elsewhere(name, words)


def elsewhere(leaf: str, overrides: Sequence[str]) -> list[str]:
    """The dotted paths of the settings with this last part, by the members of groups that the overrides choose."""
    paths = files.paths(files.chosen(overrides))
    return [path for path in paths if path.rpartition(".")[2].lower() == leaf.lower()]


def unknown_key(key: str, overrides: Sequence[str]) -> str:
    """The line for the override of a key that does not exist."""
    parent, _, leaf = key.rpartition(".")
    given = next((word.partition("=")[2] for word in overrides if word.lstrip("+~").startswith(f"{key}=")), "VALUE")
    chosen = files.chosen(overrides)
    known, places = files.known_keys(parent, chosen), elsewhere(leaf, overrides)
    if key == GROUPS_KEY:  # a dict in place of a list
        return f"{key}: got {given}, allowed: {GROUPS_RULE.allowed}"
    if not places and not registry.nearest(leaf, known):
        places = registry.nearest(leaf, files.paths(chosen))[:3]
    if places:
        return f"{key}: no such key, did you mean {either(f'{path}={given}' for path in places)}?"
    listing = files.listing_of_keys(parent, chosen.get(parent))
    return f"{key}: no such key" + (f", {registry.suggestion(leaf, known, listing)}" if known else "")


def number_for(group: str, got: str) -> str:
    """Where a group got a number, the settings of the group that may have meant: "; a number: budget.epochs=3"."""
    if not re.fullmatch(r"\d+", got) or group not in GROUPS:
        return ""
    default = files.chosen(()).get(group, "")
    keys = [f"{group}.{key}" for key in files.group_defaults(group, default)]
    fitting = [key for key in keys if key in RULES and RULES[key].accepts(int(got))][:3]
    return f"; a number: {either(f'{key}={got}' for key in fitting)}" if fitting else ""


def not_a_setting(word: str, words: Sequence[str]) -> str:
    """The line for a word that Hydra cannot read as an override. words: all of the command line."""
    if not word.isprintable():
        return f"{word!r}: not a setting; allowed: KEY=VALUE"
    key, equals, value = word.partition("=")
    if equals and value.startswith("="):
        return f"{word}: got two equals signs, allowed: {key}={value.lstrip('=')}"
    if equals and value.endswith(",") and word in words[:-1]:
        return f"{word}: not a setting; allowed: a sweep without spaces, -m {word}{words[words.index(word) + 1]}"
    if key == GROUPS_KEY:
        return f"{word}: not a setting; allowed: {GROUPS_RULE.allowed}, the expression in quotation marks"
    if equals and key:
        return f"{word}: not a setting; allowed: KEY=VALUE; a value with brackets or equals signs: {quoted(key, value)}"
    return f"{word}: not a setting; {_instead(word, words)}"


def _instead(word: str, words: Sequence[str]) -> str:
    """What was meant by a word without an equals sign, by the words around it."""
    place = words.index(word) if word in words else 0
    before, after = words[place - 1] if place else "", words[place + 1] if place + 1 < len(words) else ""
    key, equals, value = before.partition("=")
    if equals and (is_path(key) or key in registry.KINDS and by_path.is_path(word)):
        return f"allowed: a path with spaces, quoted: {quoted(key, f'{value} {word}')}"
    if after and "=" not in after and not after.startswith("-") and (paths := _meant(word, words)):
        return f"allowed: {either(f'{path}={after}' for path in paths)}"
    groups = [group for group in (*GROUPS, "experiment") if word in files.members(group)]
    if groups:
        return f"did you mean {either(f'{group}={word}' for group in groups)}?"
    places = elsewhere(word, words)
    return "allowed: KEY=VALUE" + (f", as {either(f'{path}=VALUE' for path in places)}" if places else "")


def is_path(key: str) -> bool:
    """Whether the value of a setting is the path of a file or folder."""
    return key == "dataset.path" or (key in RULES and "the path of" in RULES[key].allowed)


def quoted(key: str, value: str) -> str:
    """The setting with its value quoted for Hydra, and all of it for a shell."""
    text = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + found[2].replace('"', '\\"'), value)
    return shlex.quote(f'{key}="{text}"')
