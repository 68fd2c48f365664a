"""Advice in messages: what it says to write is read as the user meant it."""

import shlex

import pytest

from sobench.config import advice
from sobench.config.hydra_private import parse_overrides
from sobench.config.validation import RULES

PATHS = [
    "my file.npz",
    "a,b.npz",
    "a=b.npz",
    "a(1)[2]{3}.npz",
    'a"b.npz',
    "it's.npz",
    "C:\\\\data\\x",
    'back\\\\"',
    "end\\",
    "~/x",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_quoted_path_passes_the_shell_and_hydra(path):
    (word,) = shlex.split(advice.quoted("dataset.path", path))
    (override,) = parse_overrides([word])
    assert override.key == "dataset.path" and not override.is_sweep
    assert str(override._parsed.value()) == path


def test_a_path_is_told_by_its_rule():
    paths = {key for key in RULES if advice.is_path(key)}
    assert {"runs", "reports", "data.mirror", "data.cache", "slots"} <= paths and advice.is_path("dataset.path")
    assert not {"seed", "optimizer.lr", "dtype", "logger.project"} & paths
