"""The user's own folder of YAML files: searched before that of sobench, refused in one line where it is none."""

from pathlib import Path

import pytest
from harness import command, directories, summary

from sobench.config import files
from sobench.config.grid import expand
from sobench.errors import UsageError

EXPERIMENT = """# @package _global_
# A test's
model: {widths: [4]}
threads: 1
budget: {epochs: null, steps: 2}
hydra:
  sweeper:
    params: {seed: "range(2)"}
    cells:
      - [optimizer=sgd]
      - [optimizer=fast, optimizer.momentum=0.5]
"""
FAST = "# SGD, fast\ndefaults: [sgd]\nlr: 0.5\n"


def write(folder: Path, **more: str) -> Path:
    """A folder with these files, and those of more: experiment__mine=TEXT."""
    texts = {"experiment/mine.yaml": EXPERIMENT, "optimizer/fast.yaml": FAST}
    for name, text in (texts | {f"{key.replace('__', '/')}.yaml": text for key, text in more.items()}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture(params=["working folder", "variable", "relative"])
def own(request, workplace, monkeypatch) -> Path:
    if request.param == "working folder":
        return write(workplace / "conf")
    folder = workplace.parent / "my conf"
    monkeypatch.setenv(files.OWN, "../my conf" if request.param == "relative" else str(folder))
    return write(folder).resolve()


def test_its_files_are_found(own):
    runs = expand(["experiment=mine"])
    assert [(run.label("optimizer"), run.config["optimizer"]["lr"], run.seed) for run in runs] == [
        ("sgd", 0.1, 0),
        ("sgd", 0.1, 1),
        ("sgd", 0.5, 0),
        ("sgd", 0.5, 1),
    ]
    assert {"mine"} == {name for name in files.members("experiment") if files.origin(f"experiment/{name}")}
    assert files.origin("experiment/mine") == str(own) and files.origin("optimizer/sgd") == ""
    assert files.about("optimizer/fast") == "SGD, fast"


def test_a_run_does_not_depend_on_the_folder(own):
    (plain,) = expand(["model.widths=[4]", "threads=1", "budget.epochs=null", "budget.steps=2"])
    assert plain.id in {run.id for run in expand(["experiment=mine"])}


def test_the_commands_find_them(own):
    done = command("run", "experiment=mine")
    assert done.code == 0 and done.out.splitlines()[-1] == "4 runs: 4 done", done
    assert {summary(path)["status"] for path in directories()} == {"done"}
    assert command("run", "experiment=mine").out == "4 runs: 4 done; nothing to do\n"
    assert str(own) in command("list", "experiments").out
    unknown = command("run", "experiment=mien")
    assert unknown.code == 2 and "did you mean 'mine'?" in unknown.err


@pytest.mark.slow
def test_another_process_in_another_folder_finds_them(workplace, monkeypatch):
    """As workers of a launcher do: they are started in any folder, and told which one the command was started in."""
    write(workplace / "conf")
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = command("run", "experiment=mine", *launcher)
    assert done.code == 0 and done.out.splitlines()[-1] == "4 runs: 4 done", done


def test_a_file_of_ours_is_replaced_and_the_commands_say_so(workplace):
    write(workplace / "conf", optimizer__sgd="name: sgd\nlr: 7.0\n", tuned__csfd="[]")
    said = f"sobench: {workplace / 'conf'} replaces sobench's own optimizer/sgd"  # tuned settings are joined
    for words in (["run", "--cfg", "job"], ["status"], ["list", "optimizers"]):
        done = command(*words)
        assert done.code == 0 and done.errors == [said], done
    (run,) = expand([])
    assert run.config["optimizer"] == {"name": "sgd", "lr": 7.0}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_text("a: 1"), "is a file"),
        (lambda path: path.mkdir(), "has no YAML file"),
        (lambda path: write(path, config="a: 1"), "has a file config.yaml, which only sobench has"),
    ],
)
def test_a_wrong_variable_is_one_line(make, reason, workplace, monkeypatch):
    folder = workplace.parent / "other"
    make(folder)
    monkeypatch.setenv(files.OWN, str(folder))
    line = f"sobench: SOBENCH_CONF: {folder} {reason}; allowed: a folder with files such as experiment/mine.yaml"
    for words in (["run"], ["run", "-m", "seed=0,1"], ["status"], ["list", "models"], ["tune", "mine"]):
        refused = command(*words)
        assert refused.code == 2 and refused.errors == [line], refused


def test_the_folder_of_another_application_is_not_searched(workplace):
    write(workplace / "conf", config="defaults: []", optimizer__sgd="lr: 3")
    assert files.own_conf_dir() is None and expand([])[0].config["optimizer"]["lr"] == 0.1
    with pytest.raises(UsageError, match="belongs to another application; allowed: SOBENCH_CONF=DIR"):
        files.conf_dir_to_write()


def test_the_folder_of_an_installed_sobench_is_not_written(workplace, monkeypatch):
    monkeypatch.setattr(files, "PACKAGE", files.conf_dir().parent)
    monkeypatch.setenv(files.OWN, str(files.conf_dir()))
    with pytest.raises(UsageError, match=r"belongs to the installed sobench; allowed: SOBENCH_CONF=DIR"):
        files.conf_dir_to_write()


def test_our_own_folder_is_not_another(workplace, monkeypatch):
    monkeypatch.chdir(files.conf_dir().parent)
    assert files.own_conf_dir() is None and files.conf_dir_to_write() == files.conf_dir()
    monkeypatch.chdir(workplace)
    assert files.own_conf_dir() is None and files.conf_dir_to_write() == workplace / "conf"
    monkeypatch.setenv(files.OWN, str(files.conf_dir()))
    assert files.own_conf_dir() is None and files.conf_dir_to_write() == files.conf_dir()
    write(workplace / "conf")
    monkeypatch.delenv(files.OWN)
    assert files.conf_dir_to_write() == workplace / "conf" == files.own_conf_dir()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (EXPERIMENT.replace("# @package _global_\n", ""), "allowed: a first line `# @package _global_` in its file"),
        (
            "# @package _global_\n- a\n",
            "In 'experiment/mine': ConfigTypeError raised while composing config: Cannot merge",
        ),
        ("# @package _global_\na: [\n", "mine.yaml: no YAML: line"),
        ("# @package _global_\nbudgt: 3\n", "budgt: no such key"),
    ],
)
def test_a_wrong_experiment_is_one_line(text, line, workplace):
    write(workplace / "conf", experiment__mine=text)
    refused = command("run", "-m", "experiment=mine")
    assert refused.code == 2 and len(refused.errors) == 1 and line in refused.err, refused
    assert not directories()
