"""The files of `sobench parity`: every setting has a place, and wrong files are one line."""

import re

import pytest
from own_conf import add_to_conf

from sobench.config import files, parity
from sobench.errors import UsageError
from sobench.system.files import CHECKOUT

PAGE = CHECKOUT / "docs/parity.md"

ALGORITHMS = files.members(parity.FOLDER)
TWO = "implementations: [{name: adam}, {name: adam}]"


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_settings_of_a_file(name):
    """The first implementation has each shared setting, and another one a counterpart of it. Maps name shared ones."""
    algorithm = parity.read(name)
    of_first = files.group_defaults("optimizer", algorithm.first.name)
    assert {*algorithm.settings, *algorithm.first.neutral} <= of_first.keys()
    for one in algorithm.implementations:
        assert not {*one.settings} & {*one.neutral}, one.label
    mapped = [one.counterparts(algorithm.settings) for one in algorithm.implementations[1:]]
    assert all(any(counterparts[key] for counterparts in mapped) for key in algorithm.settings)
    assert len({one.label for one in algorithm.implementations}) == len(algorithm.implementations)


def test_the_page_has_every_algorithm_and_implementation():
    """docs/parity.md, whose tables are written by hand from the command's output."""
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", PAGE.read_text(), re.M | re.S))
    assert {*sections} == {*ALGORITHMS} >= {"adahessian", "adam", "kfac", "muon", "sgd", "shampoo", "soap"}
    for name in ALGORITHMS:
        for one in parity.read(name).implementations:
            assert re.search(rf"^    {re.escape(one.label)}[: ]", sections[name], re.M), one.label


def test_the_map_of_the_settings():
    """Written by hand: a value for one setting, a part of a list, and none."""
    algorithm = parity.read("shampoo")
    shared = dict(lr=0.5, damping=0.25, momentum=0.75, weight_decay=0.0, stats_decay=0.125, inverse_period=3)
    (one,) = [one for one in algorithm.implementations if one.name == "pytorch_optimizer:ScalableShampoo"]
    settings = one.resolved(shared)
    assert settings["betas"] == [0.75, 0.125] and settings["matrix_eps"] == 0.25 and settings["graft_type"] == 0
    assert settings["preconditioning_compute_steps"] == 3
    counterparts = one.counterparts(shared)
    assert counterparts["momentum"] == counterparts["stats_decay"] == ["betas"]
    (sums,) = [one for one in algorithm.implementations if one.name == "pytorch_optimizer:Shampoo"]
    assert sums.counterparts(shared)["stats_decay"] == []


def test_the_overrides_of_the_first_implementation():
    algorithm = parity.read("adam")
    words = parity.overrides(algorithm, ["optimizer.betas=[0.5,0.9]", "dtype=float32", "dataset.noise=1"])
    assert words[0] == "optimizer=adam" and words[-3:] == [
        "optimizer.betas=[0.5,0.9]",
        "dtype=float32",
        "dataset.noise=1",
    ]
    assert {"optimizer.lr=0.001", "optimizer.amsgrad=false", "optimizer.weight_decay=0.0"} < {*words[1:-3]}
    assert "dtype=float64" in parity.overrides(algorithm, [])


@pytest.mark.parametrize(
    "text, line",
    [
        (f"{TWO}", "settings: must be given"),
        ("settings: {lr: 1.0}", "implementations: must be given"),
        ("settings: {lr: 1.0}\nimplementations: [{name: adam}]", "got [{'name': 'adam'}], allowed: a list of at least"),
        (f"settings: {{lr: 1.0}}\nmatches: rest\n{TWO}", "matches: no such key, allowed: compares, implementations, "),
        (f"settings: 1\n{TWO}", "settings: got 1, allowed: keys and values"),
        ("settings: {}\nimplementations: [{name: adam}, adam]", "implementations[1]: got 'adam', allowed: keys and"),
        ("settings: {}\nimplementations: [{name: adam}, {}]", "implementations[1].name: must be given"),
        ("settings: {}\nimplementations: [{name: adam, witness: true}, {name: adam}]", "[0].witness: the first one"),
        (
            "settings: {lr: 1.0}\nimplementations: [{name: adam}, {name: sgd, settings: {lr: '${rl}'}}]",
            "implementations[1]: got lr: ${rl}, allowed: dtype, lr",
        ),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, monkeypatch, text, line):
    add_to_conf(tmp_path, monkeypatch, {"parity/mine.yaml": text})
    with pytest.raises(UsageError) as error:
        parity.read("mine")
    assert str(error.value).startswith(f"{tmp_path}/parity/mine.yaml: ") and line in str(error.value)
    assert "\n" not in str(error.value)
