"""Names, the entry points behind them, and their descriptions, read without an import."""

from importlib.metadata import EntryPoints, entry_points

import pytest

from sobench.config import files, registry
from sobench.errors import UsageError

NAMES = {
    "optimizers": {
        "sgd",
        "adam",
        "rmsprop",
        "adagrad",
        "lbfgs",
        "newton",
        "damped_newton",
        "hf_newton",
        "hf_gauss_newton",
    },
    "datasets": {
        "digits",
        "mnist",
        "npz",
        "cifar10",
        "cifar100",
        "libsvm",
        "faces",
        "faces_synthetic",
        "curves",
        "curves_synthetic",
    },
    "models": {"mlp", "linear", "autoencoder", "vgg", "resnet"},
    "losses": {"cross_entropy", "binary_cross_entropy", "squared_error", "squared_hinge"},
}


@pytest.mark.parametrize("kind", NAMES)
def test_what_ships(kind):
    ours = {name: entry for name, entry in registry.entries(kind).items() if registry.is_ours(entry)}
    assert NAMES[kind] <= ours.keys()
    for name, entry in ours.items():
        assert registry.summary(entry) and not registry.summary(entry).startswith("(")
        assert registry.load(kind, name) is entry.load()


def test_an_unknown_name():
    with pytest.raises(UsageError, match="optimizer: got 'newtn', did you mean 'newton'"):
        registry.load("optimizers", "newtn")


@pytest.mark.parametrize(
    "got, allowed, expected",
    [
        ("sdg", ["adam", "sgd"], "allowed: adam, sgd; did you mean 'sgd'?"),
        ("zzz", ["b", "a"], "allowed: a, b"),
        (5, ["a"], "allowed: a"),
    ],
)
def test_suggestion(got, allowed, expected):
    assert registry.suggestion(got, allowed) == expected


MANY = [f"{paper}/{kind}-{number}" for paper in "abc" for kind in ("table", "fig") for number in range(1, 6)]


@pytest.mark.parametrize(
    "got, expected",
    [
        ("a/tabel-3", "did you mean 'a/table-3'"),
        ("A/Table-3", "did you mean 'a/table-3'"),
        ("table-3", "did you mean 'a/table-3', 'b/table-3', 'c/table-3'"),
        ("able", "did you mean '"),
        ("zzz", "allowed: a/fig-1, a/table-2, b/fig-3, b/table-4, c/fig-5, ... "),
        (None, "allowed: a/fig-1, "),
    ],
)
def test_a_suggestion_of_many_names_lists_a_few_and_says_how_to_see_all(got, expected):
    text = registry.suggestion(got, MANY, "sobench list experiments")
    assert text.startswith(expected) and text.endswith("(all 30: sobench list experiments)")
    assert sum(text.count(name) for name in MANY) <= registry.FEW
    assert registry.suggestion(got, MANY).startswith(f"allowed: {', '.join(sorted(MANY))}")


def test_as_many_names_as_can_be_taken_in_are_listed_whole():
    names = MANY[: registry.WHOLE]
    assert all(name in registry.suggestion("zzz", names, "sobench list experiments") for name in names)
    assert "all 13: LIST" in registry.suggestion("zzz", MANY[: registry.WHOLE + 1], "LIST")


def test_the_nearest_name_is_first():
    """The similarity is 2 M / T: M letters in common, T letters in both."""
    assert registry.nearest("sgdd", ["kfac", "sgdw", "sgd"]) == ["sgd", "sgdw"]  # 6/7 > 6/8 >= 0.6
    assert registry.nearest("", ["a"]) == registry.nearest(5, ["5"]) == []


BROKEN = {  # module text, entry, its summary, and the error of whoever loads it
    "no module": ("", "nowhere:Thing", "(no module 'nowhere')", "ModuleNotFoundError: No module named 'nowhere'"),
    "no submodule": ("", "reg_pkg.nowhere:Thing", "(no module 'reg_pkg.nowhere')", "SystemError: imported"),
    "no object": ("x = 1", "reg_pkg.mod:Thing", "", "SystemError: imported"),
    "no object named": ('"A module."', "reg_pkg.mod", "A module.", "SystemError: imported"),
    "no object in a module": (
        "",
        "json:Thing",
        "JSON (JavaScript Object Notation)",
        "AttributeError: module 'json' has no attribute 'Thing'",
    ),
    "syntax": ("class Thing(:", "reg_pkg.mod:Thing", "(mod.py cannot be parsed: SyntaxError", "SystemError: imported"),
    "null byte": ("\0", "reg_pkg.mod:Thing", "(mod.py cannot be parsed: ", "SystemError: imported"),
    "raises": ("raise ImportError('no')\nclass Thing: 'A.'", "reg_pkg.mod:Thing", "A.", "SystemError: imported"),
}
SOUND = {
    "class": ("class Thing: pass", "reg_pkg.mod:Thing"),
    "spaces and extras": ("class Thing: pass", "reg_pkg.mod : Thing [extra]"),
    "assigned": ("Thing: type = object", "reg_pkg.mod:Thing"),
    "imported": ("from torch.optim import SGD as Thing", "reg_pkg.mod:Thing"),
    "relative": ("from .other import Thing", "reg_pkg.mod:Thing"),
    "attribute": ("class Thing:\n  class Inner: pass", "reg_pkg.mod:Thing.Inner"),
    "either": ("try:\n  from fast import Thing\nexcept ImportError:\n  class Thing: pass", "reg_pkg.mod:Thing"),
    "else": ("if 0:\n  pass\nelse:\n  class Thing: pass", "reg_pkg.mod:Thing"),
    "lazy": ("def __getattr__(name): pass", "reg_pkg.mod:Thing"),
    "everything": ("from torch.optim import *", "reg_pkg.mod:Thing"),
    "builtin": ("import sys, _thread\nclass Thing: pass", "reg_pkg.mod:Thing"),
    "compiled": ("", "math:sqrt"),
}


def install(plugins, text: str, value: str):
    plugins(
        "reg-pkg", {"reg_pkg/__init__.py": "raise SystemError('imported')", "reg_pkg/mod.py": text}, {"thing": value}
    )
    return registry.entries("optimizers")["thing"]


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_entry_has_a_summary_and_one_line_of_error(plugins, case):
    text, value, summary, message = BROKEN[case]
    entry = install(plugins, text, value)
    assert registry.summary(entry).startswith(summary) and bool(summary) == bool(registry.summary(entry))
    with pytest.raises(UsageError, match="optimizer 'thing' .* cannot be loaded") as error:
        registry.load("optimizers", "thing")
    assert "\n" not in str(error.value) and str(error.value).endswith(f"cannot be loaded: {message}")


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_entry_without_a_docstring_has_no_summary(plugins, case):
    assert registry.summary(install(plugins, *SOUND[case])) == ""


def test_a_module_that_ends_the_program(plugins):
    plugins("reg-end", {"reg_end.py": "import sys\nsys.exit(3)\nclass Thing: pass"}, {"thing": "reg_end:Thing"})
    with pytest.raises(UsageError, match="cannot be loaded: SystemExit"):
        registry.load("optimizers", "thing")


@pytest.mark.parametrize(
    "text, expected",
    [
        ('"The module."\nclass Thing:\n  "The class.\\n\\n  More."', "The class."),
        ('"The module."\nclass Thing: pass', "The module."),
        ("class Thing: pass", ""),
    ],
)
def test_summary(plugins, text, expected):
    assert registry.summary(install(plugins, text, "reg_pkg.mod:Thing")) == expected


@pytest.mark.parametrize("theirs_first", [True, False])
def test_ours_wins_a_clash_with_a_warning(plugins, capsys, monkeypatch, theirs_first):
    plugins("reg-clash", {}, {"sgd": "torch.optim:ASGD"})
    found = sorted(entry_points(group="sobench.optimizers"), key=registry.is_ours, reverse=not theirs_first)
    monkeypatch.setattr(registry, "entry_points", lambda: EntryPoints(found))
    entries = registry.entries("optimizers")
    assert registry.is_ours(entries["sgd"]) and entries["sgd"].value == "torch.optim:SGD"
    assert capsys.readouterr().err == (
        "sobench: warning: two optimizers are called 'sgd': using torch.optim:SGD, not torch.optim:ASGD; "
        "for the other: optimizer=torch.optim:ASGD\n"
    )


def test_installed_packages_are_read_once_for_all_kinds(plugins, monkeypatch):
    plugins("reg-read", {}, {"theirs": "torch.optim:ASGD"})
    scans, scan = [], registry.entry_points
    monkeypatch.setattr(registry, "entry_points", lambda: scans.append(1) or scan())
    found = {kind: registry.entries(kind) for kind in registry.KINDS.values()}
    assert len(scans) == 1 and "theirs" in found["optimizers"] and "cross_entropy" in found["losses"]


def test_presets_that_hide_an_entry_are_sought_among_those_of_plugins_alone(plugins, monkeypatch):
    plugins("reg-hidden", {}, {"theirs": "torch.optim:ASGD"})
    monkeypatch.setattr(files, "read", lambda file: pytest.fail(f"{file} was read"))
    for group in registry.KINDS:
        files.warn_of_hidden(group)


def test_a_clash_of_two_plugins_is_named(plugins, capsys):
    plugins("reg-one", {}, {"theirs": "torch.optim:ASGD"})
    plugins("reg-two", {}, {"theirs": "torch.optim:NAdam"})
    used = registry.entries("optimizers")["theirs"].value
    (line,) = capsys.readouterr().err.splitlines()
    assert "two optimizers are called 'theirs'" in line and f"using {used}, not" in line


def test_origin(plugins):
    plugins("reg-origin", {}, {"theirs": "torch.optim:ASGD"})
    assert registry.origin(registry.entries("optimizers")["theirs"]) == "reg-origin 1.2"
