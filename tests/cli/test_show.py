"""`sobench show`: every setting with its default, range and meaning; data, models, experiments and reports."""

import pytest
from harness import SMALL, command

from sobench.cli.show import names, preset_of
from sobench.config import by_path, files
from sobench.config.files import LISTED
from sobench.config.validation import rule_of


def shown(*words: str) -> list[str]:
    done = command("show", *words)
    assert done.code == 0 and not done.err
    return done.out.splitlines()


def test_an_optimizer(workplace):
    text = "\n".join(shown("kfac"))
    assert "paper: J. Martens and R. Grosse, Optimizing Neural Networks with Kronecker-factored" in text
    assert "section 5.8 (chapter 5)\n" in text and "code: sobench.optim.kfac:KFAC\n" in text
    for key, default in files.group_defaults("optimizer", "kfac").items():
        if key != "name":
            (line,) = [line for line in text.splitlines() if line.split()[:1] == [f"optimizer.{key}"]]
            assert rule_of("optimizer", "kfac", key).allowed in line and files.comments("optimizer/kfac")[key] in line
            assert str(default).lower() in line
    (whole, of_parity) = (command(*words).out for words in (("show", "kfac"), ("list", "parity", "kfac")))
    assert whole == command("list", "optimizers", "kfac").out + "\n" + of_parity
    assert of_parity.startswith("kfac: parity, 2 implementations") and "sobench.training.parity.witnesses" in of_parity


def test_a_kind_of_which_nothing_is_installed_says_how_to_add_one(workplace):
    listed = command("list", "metrics")
    assert not listed.out and listed.errors == [
        "none; docs/extending.md says how to add one, or to name one by its path"
    ]
    (workplace / "mine.py").write_text('def worst(outputs, targets):\n    """The largest output."""\n')
    (line, about, *_) = command("list", "metrics", "mine.py:worst").out.splitlines()
    assert line == "mine.py:worst: metric" and about.strip() == "The largest output."
    assert command("list", "metrics", "wurst").errors == [f"sobench: metrics: got 'wurst', allowed: {by_path.FORM}"]


@pytest.mark.parametrize("group", files.GROUPS)
def test_every_setting_of_a_group_has_a_meaning(group):
    for name in files.members(group):
        if (files.conf_dir() / group / f"{name}.yaml").is_file():
            meanings = files.comments(f"{group}/{preset_of(group, name)}") | files.comments(f"{group}/{name}")
            assert files.read(files.conf_dir() / group / f"{name}.yaml").keys() - meanings.keys() == {"name"}, name
            own = set(files.written_keys(f"{group}/{name}")) - files.common(group).keys()
            assert own == files.group_defaults(group, name).keys()


FEW = {"experiments": ["csfd/fig-1", "smw/fig-5.1"], "reports": ["csfd/fig-1", "kernelsgd/theorem-3.1"]}
"""Experiments of few cells, and their reports: all cells are composed for each budget, which takes a minute for all."""


@pytest.mark.parametrize("kind", LISTED)
def test_everything_that_is_listed_can_be_shown(workplace, kind):
    listed = names(kind)
    for name in FEW.get(kind, listed[:40]):
        assert name in listed and shown(name)[0].startswith(f"{name}: "), name


def test_a_data_set_says_whether_it_is_at_hand(workplace, tmp_path, monkeypatch):
    lines = shown("usps")
    assert lines[0] == "usps: dataset, a preset of libsvm" and any("7,291 / 2,007" in line for line in lines)
    assert any("not at hand: sobench data fetch libsvm-usps; from https://" in line for line in lines)
    folder = tmp_path / "mirror" / "libsvm"
    folder.mkdir(parents=True)
    for name in ("usps.bz2", "usps.t.bz2"):
        assert not any("at hand: /" in line for line in shown("usps"))
        (folder / name).write_bytes(b"x")
        monkeypatch.setenv("SOBENCH_DATA", str(folder.parent))
    assert any(f"at hand: {folder}" in line for line in shown("usps"))
    listed = {line.split()[0]: line for line in command("list", "experiments").out.splitlines()}
    assert listed["smw/fig-5.3"].endswith("not at hand: webspam")
    assert "not at hand: mnist" in listed["practical/table-3"] and "not at hand" not in listed["demo/digits"]


def test_a_model_shows_its_presets(workplace):
    text = "\n".join(shown("vgg"))
    assert "presets: csfd_vgg11, vgg11_prime, vgg16, vgg19" in text and "model.classifier" in text
    assert shown("vgg16")[0] == "vgg16: model, a preset of vgg"
    assert any(
        line.split()[0] == "vgg16" and line.endswith("preset of vgg")
        for line in command("list", "models").out.splitlines()
    )


def test_an_experiment_and_its_report(workplace):
    text = "\n".join(shown("demo/digits"))
    assert "demo/digits: experiment" in text and "demo/digits: report" in text
    assert "15 runs: 5 cells, seeds 0 to 2" in text and "optimizer=hf_newton optimizer.lr=1.0" in text
    assert "unknown: sobench plan demo/digits budget=cpu" in text
    command("run", "experiment=demo/digits", "budget.epochs=6", "optimizer=sgd", "seed=0")
    (row,) = [line for line in shown("demo/digits") if line.split()[:1] == ["cpu"]]
    assert row.split()[1:5] == ["6", "epochs", "1", "14"] and "about" in row and "12 unknown" in row


def test_an_unknown_name(workplace):
    done = command("show", "kfca")
    assert done.code == 2 and "show: got 'kfca', did you mean 'kfac'" in done.err and len(done.err) < 300


@pytest.mark.parametrize("columns", [None, "300"])
def test_nothing_is_wrapped_or_padded_in_a_pipe(workplace, monkeypatch, columns):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    command("run", *SMALL)
    for words in (["status"], ["list", "optimizers"], ["show", "kfac"], ["report", *SMALL]):
        done = command(*words)
        lines = done.out.splitlines()
        assert done.code == 0 and [line for line in lines if line != line.rstrip()] == []
        assert words[0] in ("show", "report") or all(lines)
    assert any(line.startswith("Mean ") for line in lines)
