"""Completion of a command line by TAB: `sobench completion bash` prints the script that asks here at each key press.

The answer comes from the parsers of the commands, from the names of files and from their text, so that it is fast: no
YAML is read, and neither Hydra nor torch is imported.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

COMPLETE = "complete"
"""The command that the scripts call: the shell, and the line up to the cursor."""

_BASH = f"""\
_sobench() {{
    local IFS=$'\\n'
    COMPREPLY=($("${{COMP_WORDS[0]/#\\~/$HOME}}" {COMPLETE} bash "${{COMP_LINE:0:COMP_POINT}}" 2>/dev/null))
}}
complete -o nospace -o default -F _sobench sobench
"""
_ZSH = f"""\
_sobench() {{
    local -a found
    found=("${{(@f)$("${{words[1]}}" {COMPLETE} zsh "${{(j: :)words[1,CURRENT]}}" 2>/dev/null)}}")
    compadd -Q -S '' -- ${{found:#}}
}}
compdef _sobench sobench
"""
_FISH = f"""\
complete -c sobench -f -a '(sobench {COMPLETE} fish (commandline -cp))'
"""
SHELLS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
"""The script of each shell."""

_OPEN = ("=", ".", "/", ",")
"""The ends of a word that goes on; behind any other word, a blank follows."""

_RUN = ("-m", "--multirun", "--json", "--cfg", "--resolve", "--info", "--help", "--hydra-help")
"""Options of `sobench run`, whose parser is Hydra's."""


def completion(args: argparse.Namespace) -> int:
    """Print the script of a shell."""
    print(SHELLS[args.shell], end="")
    return 0


def complete(shell: str, line: str, make_parser: Callable[[], argparse.ArgumentParser]) -> int:
    """Print what the last word of the line can become, one a line, as the shell wants it."""
    words = line.split()[1:]
    current = words.pop() if words and not line[-1].isspace() else ""
    for word in sorted({word for word in _candidates(words, current, make_parser) if word.startswith(current)}):
        text = word if shell == "fish" or word.endswith(_OPEN) else f"{word} "
        print(text[_start(current) :] if shell == "bash" else text)
    return 0


def _start(current: str) -> int:
    """Where the part of a word begins that bash replaces: it breaks words at = and :."""
    return max(current.rfind(mark) for mark in "=:") + 1


def _candidates(
    words: Sequence[str], current: str, make_parser: Callable[[], argparse.ArgumentParser]
) -> Iterable[str]:
    if words[:1] == ["run"]:
        return _RUN if current.startswith("-") else _settings(words[1:], current)
    of_command = make_parser()
    while subparsers := _subparsers(of_command):
        if not words:
            return [*subparsers, *(_options(of_command) if current.startswith("-") else ())]
        if words[0] not in subparsers:
            return []
        of_command, words = subparsers[words[0]], words[1:]
    return _options(of_command) if current.startswith("-") else _arguments(of_command, words, current)


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next((dict(a.choices or {}) for a in parser._actions if isinstance(a, argparse._SubParsersAction)), {})


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [text for action in parser._actions for text in action.option_strings]


def _arguments(parser: argparse.ArgumentParser, words: Sequence[str], current: str) -> Iterable[str]:
    """The values of the argument at this place, by its choices or by its kind."""
    given = [word for word in words if not word.startswith("-")]
    places = [action for action in parser._actions if not action.option_strings]
    kinds = [action.dest for action in places]
    if not places:
        return []
    place = min(len(given), len(places) - 1)
    if choices := places[place].choices:
        return map(str, choices)
    kind = kinds[place]
    if kind == "what" and "," in current:  # compare OPTIMIZER,OPTIMIZER
        before = current[: current.rfind(",") + 1]
        return [before + name for name in _names("compare", "optimizers")]
    if kind == "name" and kinds[0] == "kind" and given:  # list KIND NAME
        kind = given[0]
    if kind == "overrides" or ("overrides" in kinds and "=" in current):
        return _settings(given, current)
    names = list(_names(parser.prog.split()[-1], kind))
    return [*names, *_settings(given, current)] if current and "overrides" in kinds else names


def _names(command: str, kind: str) -> Iterator[str]:
    """The names that an argument takes. kind: the name of the argument, or a kind of `sobench list`."""
    from sobench.config import files, registry

    groups = {plural: [group] for group, plural in registry.KINDS.items()}
    groups |= {
        "experiment": ["experiment"],
        "experiments": ["experiment"],
        "suites": ["suite"],
        "id": ["report"],
        "reports": ["report"],
    }
    groups["parity"] = groups["algorithm"] = ["parity"]
    if kind == "id" and command == "reproduce":
        yield "all"
    if command in ("list", "fetch", "verify") and kind == "names":
        from sobench.data.sources import declared

        yield from declared()
    if kind == "what":
        groups["what"] = ["optimizer", "experiment"]
    if kind == "name":
        groups["name"] = ["optimizer"] if command == "check" else [*files.GROUPS, "experiment", "loss"]
    for group in groups.get(kind, ()):
        yield from registry.choices("losses") if group == "loss" else files.members(group)


# Settings


def _settings(words: Sequence[str], current: str) -> Iterator[str]:
    """KEY= for a key, and KEY=VALUE for the values that can be listed."""
    from sobench.config import files

    key, equals, value = current.partition("=")
    if equals:
        before = value[: value.rfind(",") + 1]
        yield from (f"{key}={before}{choice}" for choice in _values(key, words))
        return
    yield from (f"{group}=" for group in (*files.GROUPS, "experiment", "hydra/launcher", "hydra/sweeper"))
    yield from (f"{key}=" for key in files.written_keys("config") if not re.match(r"defaults|hydra", key))
    parent, dot, _ = current.partition(".")
    if dot and parent in files.GROUPS:
        member = _member(parent, words)
        yield from (f"{parent}.{key}=" for key in files.written_keys(f"{parent}/{member}") if key != "name")
    elif parent:
        yield from (f"{group}." for group in files.GROUPS if group.startswith(parent))


def _member(group: str, words: Sequence[str]) -> str:
    """The chosen member of a config group: by the last word that chooses one, else the default."""
    from sobench.config import files

    for word in reversed(words):
        if word.startswith(f"{group}="):
            return word.partition("=")[2]
    text = (files.conf_dir() / "config.yaml").read_text()
    default = re.search(rf"^  - {group}: (\w+)$", text, re.MULTILINE)
    return default[1] if default else ""


def _values(key: str, words: Sequence[str]) -> Iterable[str]:
    """The values of a setting that can be listed."""
    from sobench.config import files, registry, rules, validation

    if key in (*files.GROUPS, "experiment", "suite") or key.startswith("hydra/"):
        return files.members(key)
    if key == "loss":
        return registry.choices("losses")
    group, _, leaf = key.partition(".")
    rule = validation.RULES.get(key)
    if group == "optimizer":
        rule = rules.OPTIMIZER_RULES.get(_member(group, words), {}).get(leaf)
    if rule is None:
        default = files.comments(f"{group}/{_member(group, words)}").get(leaf, "")
        return ("true", "false") if default.startswith("true: ") else ()
    return ("true", "false") if rule.types == (bool,) else map(str, rule.choices)
