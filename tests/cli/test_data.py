"""`sobench data`; and for every data set, agreement of its YAML, its loader and its declaration."""

import argparse
import inspect
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
import yaml

from sobench.cli.data import add_parser
from sobench.config import registry
from sobench.data import Dataset, Store, load
from sobench.data.sources import File, Source, declared
from sobench.errors import UsageError

CONF = sorted((Path(__file__).parents[2] / "conf/dataset").glob("*.yaml"))
DECLARED = {name.partition("-")[0] for name, source in declared().items() if source.kind != "vectors"}
"""Names of the declared data sets; libsvm-a9a counts as libsvm."""
NAME = "train-labels-idx1-ubyte.gz"


@pytest.fixture
def data(monkeypatch, small, tmp_path):
    """A function that runs `data ...` on the declaration of the small files and returns the exit code."""
    monkeypatch.setattr(
        "sobench.cli.data.Store.default", lambda mirror, cache: small.store(mirror, cache or tmp_path / "cache")
    )
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))

    def call(*words):
        args = parser.parse_args(["data", *map(str, words)])
        return args.func(args)

    return call


def test_list(data, small, tmp_path, capsys):
    assert data("list") == 0
    assert "missing" in capsys.readouterr().out
    mirror = small.write(tmp_path / "mirror")
    assert data("list", "mnist", "--mirror", mirror) == 0
    out = capsys.readouterr().out
    assert "present" in out and str(mirror / "MNIST/raw") in out
    (mirror / "MNIST/raw" / NAME).unlink()
    data("list", "--mirror", mirror)
    assert "3 of 4 files" in capsys.readouterr().out


def test_fetch_then_verify(data, small, tmp_path, capsys):
    mirror = small.write(tmp_path / "mirror")
    assert data("verify", "mnist") == 1, "named, and not here"
    assert data("verify") == 0
    assert data("fetch", "--mirror", mirror) == 0
    *_, row, last = capsys.readouterr().out.splitlines()
    assert row.split()[0] == "mnist" and "MB" in row and last.endswith("all of them: sobench data fetch all")
    assert not (tmp_path / "cache").exists(), "without a name nothing is fetched"
    assert data("fetch", "all", "--mirror", mirror) == 0
    capsys.readouterr()
    assert data("verify", "mnist") == 0
    assert capsys.readouterr().out.count(": ok") == 4
    damaged = tmp_path / "cache/MNIST/raw" / NAME
    damaged.write_bytes(b"damaged")
    assert data("verify") == 1
    out, err = capsys.readouterr()
    assert f"{damaged}: wrong checksum" in out and str(damaged) in err and out.count(": ok") == 3


def test_what_cannot_be_verified_is_said(monkeypatch, data, tmp_path, capsys):
    files = {"a.mat": File("a.mat")}
    sources = {
        "plain": Source("plain", "x", folder="d", files=files),
        "other": Source("other", "y", folder="e", files={"b.gz": File("b.gz", "md5:0", 3)}, stand_in="b.npz"),
    }
    for file in ("d/a.mat", "e/b.npz"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_bytes(b"x")
    monkeypatch.setattr(
        "sobench.cli.data.Store.default", lambda mirror, cache: Store(tmp_path, tmp_path / "cache", sources)
    )
    assert data("list", "plain", "other") == 0
    _, plain, other = capsys.readouterr().out.splitlines()
    assert "unknown" in plain and "present, unverified" in plain and str(tmp_path / "d") in plain
    assert "b.npz, unverified" in other and str(tmp_path / "e") in other
    assert data("verify", "plain", "other") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"plain: {tmp_path / 'd/a.mat'}: unverified, no checksum is published",
        f"other: {tmp_path / 'e/b.npz'}: unverified, stands in for b.gz",
    ]
    (tmp_path / "d/a.mat").write_bytes(b"")
    assert data("verify", "plain") == 1 and "a.mat: empty" in capsys.readouterr().out


def test_fetch_offline(data, capsys):
    assert data("fetch", "mnist") == 1
    err = capsys.readouterr().err
    assert "cannot get train-images-idx3-ubyte.gz" in err and err.count("\n") == 1


def test_an_unknown_name(data):
    for action in ("list", "fetch", "verify"):
        with pytest.raises(UsageError, match="data set: got 'mnits', .*did you mean 'mnist'"):
            data(action, "mnits")


def test_the_commands_import_no_torch(tmp_path):
    program = (
        "import argparse, sys; from sobench.cli.data import add_parser\n"
        "parser = argparse.ArgumentParser(); add_parser(parser.add_subparsers())\n"
        "for words in (['list'], ['verify'], ['fetch', 'digits']):\n"
        "    args = parser.parse_args(['data', *words, '--data-dir', sys.argv[1]])\n"
        "    assert args.func(args) == 0\n"
        "print([name for name in ('torch', 'numpy', 'sklearn', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    environment = {key: value for key, value in os.environ.items() if key != "SOBENCH_DATA"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    for text in ("bundled with scikit-learn", "dataset.path", "11.6 MB", "mnist: train-images-idx3-ubyte.gz: missing"):
        assert text in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("file", CONF, ids=lambda file: file.stem)
def test_yaml_loader_and_declaration_agree(file):
    keys = yaml.safe_load(file.read_text())
    name = keys.pop("name")
    parameters = inspect.signature(registry.load("datasets", name)).parameters.values()
    options = [parameter for parameter in parameters if parameter.name != "store"]
    assert name in DECLARED and [option.name for option in options] == list(keys)
    for option in options:
        assert option.kind is inspect.Parameter.KEYWORD_ONLY
        default = list(option.default) if isinstance(option.default, tuple) else option.default
        assert default == keys[option.name] or keys[option.name] == "???" or name != file.stem


def test_there_is_a_yaml_for_every_declaration():
    assert {file.stem for file in CONF} >= DECLARED


def test_list_shows_the_data_set_of_a_plugin(data, monkeypatch, capsys):
    entry = EntryPoint("theirs", "sobench.data.digits:digits", "sobench.datasets")
    monkeypatch.setattr("sobench.config.registry.entries", lambda kind: {"datasets": {"theirs": entry}}[kind])
    data("list")
    assert any(line.startswith("theirs ") for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"standardise": True}, "dataset.standardise: no such option of digits, allowed: standardize"),
        ({"standardize": "no"}, "dataset.standardize: got 'no', allowed: true, false"),
        ({"standardize": 1}, "dataset.standardize: got 1, allowed: true, false"),
    ],
)
def test_load_refuses_bad_options(monkeypatch, tmp_path, options, message):
    _register(monkeypatch, "digits")
    with pytest.raises(UsageError, match=message):
        load("digits", options, Store(None, tmp_path))


def test_load(monkeypatch, tmp_path):
    _register(monkeypatch, "digits")
    assert load("digits", {"standardize": True}, Store(None, tmp_path)).train[0].min() < 0
    _register(monkeypatch, "npz")
    with pytest.raises(UsageError, match="dataset.path: npz needs a value for it"):
        load("npz", {}, Store(None, tmp_path))


def _register(monkeypatch, name):
    loader = getattr(import_module(f"sobench.data.{name}"), name)
    monkeypatch.setattr(
        "sobench.config.registry.load", lambda group, wanted: {("datasets", name): loader}[group, wanted]
    )


@pytest.mark.parametrize(
    "train, test, message",
    [
        ((4, 3), (2, 2), "train has 4 inputs but 3 targets"),
        ((4, 4), (0, 0), "test is empty"),
    ],
)
def test_a_dataset_that_does_not_fit_together(train, test, message):
    parts = [(torch.zeros(inputs, 5), torch.zeros(targets, dtype=torch.int64)) for inputs, targets in (train, test)]
    with pytest.raises(UsageError, match=message):
        Dataset("theirs", *parts, classes=2)
