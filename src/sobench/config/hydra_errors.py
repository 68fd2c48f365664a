"""Hydra's and OmegaConf's exceptions in our words: one line with the key, what it got, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sobench.config import files, registry
from sobench.errors import UsageError


@contextmanager
def readable_errors(words: Sequence[str]) -> Iterator[None]:
    """Hydra's and OmegaConf's exceptions on these words as one line: the key, what it got, what is allowed."""
    import yaml
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except MissingConfigException as error:
        raise UsageError(_unknown_choice(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(_unknown_key(str(error), words) or _malformed(error) or _first_line(error)) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{mark.name}: no YAML: line {mark.line + 1}: " if mark else "no YAML: "
        raise UsageError(f"{where}{error.problem or error.context}") from error
    except ValueError as error:
        if str(error).startswith("Only one of --run"):
            raise UsageError(
                f"{' '.join(w for w in words if w.startswith('-'))}: " + _first_line(error).lower()
            ) from error
        if "Config group override must be" not in str(error):
            raise
        raise UsageError(_not_a_choice(words)) from error


def _unknown_choice(error) -> str:
    group, _, got = (error.missing_cfg_file or "config").partition("/")
    if group == "hydra":
        group, _, got = error.missing_cfg_file.rpartition("/")
    known = error.options if group.startswith("hydra") else files.members(group)
    return f"{group}: got {got!r}, {registry.suggestion(got, known)}" if known else _first_line(error)


def _not_a_choice(words: Sequence[str]) -> str:
    """The line for a group given something else than a name."""
    for word in words:
        group, _, got = word.lstrip("+").partition("=")
        if group in files.GROUPS and got not in files.members(group):
            return f"{group}: got {got!r}, {registry.suggestion(got, files.members(group))}"
    return f"{' '.join(words)}: allowed: KEY=VALUE"


def _unknown_key(message: str, words: Sequence[str]) -> str | None:
    """The line for an override of a key that does not exist, or None if the message is of something else."""
    found = re.search(r"(?:Could not override|Error merging override|Key) '?([\w.@/-]+)", message)
    if not found:
        return None
    key = found[1].partition("=")[0]
    parent, _, leaf = key.rpartition(".")
    known = files.known_keys(parent, files.chosen(words))
    return f"{key}: no such key" + (f", {registry.suggestion(leaf, known)}" if known else "")


def _malformed(error) -> str | None:
    """The line for a word that is no override, or a sweep without -m; else None."""
    if str(error).startswith(("Ambiguous value for argument", "Sweep parameters")):
        return f"{str(error).split(chr(39))[1]}: several values are a sweep; allowed: one value, or -m for a sweep"
    if hasattr(error, "override") or str(error).startswith("Error parsing override"):
        word = getattr(error, "override", None) or str(error).split(chr(39))[1]
        return f"{word}: not a setting; allowed: KEY=VALUE, quoted where the value has spaces or brackets"
    return None


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
