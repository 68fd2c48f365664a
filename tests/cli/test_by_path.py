"""An optimizer, a model and a data set of one Python file, named by their paths: no YAML, no package."""

import os
import re
import subprocess
import sys
import zlib

import pytest
import torch
from harness import command, directories, rows

from sobench.config import registry
from sobench.errors import UsageError
from sobench.system.files import CHECKOUT

MINE = '''
"""An optimizer, a model and a data set."""

import math

import torch
from torch import nn

from {beside} import STEP
from sobench.data import Dataset


class Mine(torch.optim.Optimizer):
    """Gradient descent, times STEP."""

    def __init__(self, params, lr: float = 0.1, decay: bool = False):
        super().__init__(params, dict(lr=lr, decay=decay))

    @torch.no_grad()
    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                p -= STEP * group["lr"] * p.grad
        return loss


class Free(torch.optim.SGD):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


def net(input_shape, outputs, width: int = 4):
    """A tanh layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), width), nn.Tanh(), nn.Linear(width, outputs))


def rings(samples: int = 40):
    """Points on two rings."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (2 * samples,), generator=generator)
    angle = 6.2832 * torch.rand(2 * samples, generator=generator)
    points = torch.stack([(1 + labels) * angle.cos(), (1 + labels) * angle.sin()], dim=1)
    return Dataset("rings", (points[:samples], labels[:samples]), (points[samples:], labels[samples:]), classes=2)
'''
WORDS = [
    "model=mine.py:net",
    "dataset=mine.py:rings",
    "batch_size=10",
    "budget.epochs=2",
    "wait=false",
    "progress=false",
]


@pytest.fixture
def stranger(workplace, request):
    """A folder with one file of one's own, and a module beside it whose name no other test uses."""
    beside = f"beside_{zlib.crc32(request.node.name.encode())}"
    (workplace / f"{beside}.py").write_text("STEP = 1.0\n")
    (workplace / "mine.py").write_text(MINE.format(beside=beside))
    return workplace


def finals(words: list[str]) -> dict[str, float]:
    """The final training loss of each run, by the name of the optimizer in its folder."""
    done = command("run", "-m", *WORDS, *words)
    assert done.code == 0, done.err
    return {path.parent.name.split("_")[2]: rows(path, "eval")[-1]["train_loss"] for path in directories()}


def test_one_file_one_sweep_one_report(stranger):
    """Mine with STEP = 1 is gradient descent: its losses are those of sgd to the bit."""
    loss = finals(["optimizer=mine.py:Mine,sgd,torch.optim:ASGD,asgd", "optimizer.lr=0.1"])
    assert loss["Mine"] == loss["sgd"] and loss["ASGD"] == loss["asgd"] != loss["sgd"]
    report = command("report")
    assert report.code == 0 and "Mine" in report.out and "mine.py:Mine" not in report.out
    assert (stranger / "reports/rings-net/report.md").is_file()
    assert "4 runs: 4 done" in command("status").out
    assert command("run", *WORDS, f"optimizer={stranger}/mine.py:Mine").out.count("already done") == 1
    assert not list(stranger.glob("*.yaml")) and not (stranger / "__pycache__").exists()


@pytest.mark.slow
def test_a_process_of_its_own(stranger):
    """As a stranger has it: the command in an empty folder, the runs in processes of their own."""
    program = [sys.executable, "-c", "from sobench.cli import entry; entry()"]
    words = ["run", *WORDS, "optimizer=mine.py:Mine", "isolate=true"]
    done = subprocess.run([*program, *words], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert directories()[0].parent.name.startswith("rings_net_Mine_")


def test_changed_code_makes_the_runs_stale_and_a_comment_does_not(stranger):
    """The module beside the file is code of the method too. The changed step has its own loss at once."""
    before = finals(["optimizer=mine.py:Mine"])
    mine, (beside,) = stranger / "mine.py", stranger.glob("beside_*.py")
    mine.write_text(mine.read_text() + "# a comment\n")
    assert "stale" not in command("status").out
    beside.write_text("STEP = 2.0\n")
    status = command("status").out
    assert "stale" in status
    after = finals(["optimizer=mine.py:Mine", "rerun=stale"])
    assert after["Mine"] != before["Mine"]
    assert after["Mine"] == finals(["optimizer=sgd", "optimizer.lr=0.2"])["sgd"]


def test_two_files_with_one_name_are_two_methods(stranger):
    for folder, step in ("a", 1.0), ("b", 2.0):
        (stranger / folder).mkdir()
        text = (stranger / "mine.py").read_text().splitlines()
        own = [f"STEP = {step}" if "import STEP" in line else line for line in text]
        (stranger / folder / "mine.py").write_text("\n".join(own))
    done = command("run", "-m", *WORDS, "optimizer=a/mine.py:Mine,b/mine.py:Mine")
    assert done.code == 0 and "2 runs: 2 done" in done.out
    first, second = (rows(path, "eval")[-1]["train_loss"] for path in directories())
    assert first != second
    assert command("report").code == 0
    (report,) = stranger.glob("reports/*/report.md")
    assert "a/mine.py:Mine" in report.read_text() and "b/mine.py:Mine" in report.read_text()


def test_elsewhere_the_missing_file_is_one_line(stranger, tmp_path, monkeypatch):
    finals(["optimizer=mine.py:Mine"])
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert "1 run: 1 done" in command("status", f"runs={stranger}/runs").out
    again = command("run", *WORDS, "optimizer=mine.py:Mine", f"runs={stranger}/runs")
    assert again.code == 2 and "there is no file" in again.err and len(again.err.splitlines()) == 1


WRONG = {
    "optimizer=mien.py:Mine": "there is no file .*/mien.py; allowed: .*did you mean 'mine.py'",
    "optimizer=mine.py:Mien": "mine.py has no 'Mien'; allowed: .*; did you mean 'Mine'",
    "optimizer=mine.py": "allowed: mine.py:Mine, mine.py:Free, mine.py:net or mine.py:rings",
    "optimizer=mine.py:": "allowed: mine.py:Mine, ",
    "optimizer=:Mine": "allowed: MODULE:NAME or FILE.py:NAME",
    "optimizer=torch.optim:": "allowed: MODULE:NAME or FILE.py:NAME",
    "optimizer=broken:Mine": "there is no module 'broken'; allowed: broken.py:Mine",
    "optimizer=torch.optim:Moun": "torch.optim has no 'Moun'; .* did you mean 'Muon'",
    "optimizer=nowhere.at_all:Mine": "there is no module 'nowhere'; allowed: an installed module, or FILE.py:NAME",
    r"optimizer=C:\work\mine.py:Mine": "allowed: a path with / and without a drive",
    "optimizer=mine.py:net": "is not a torch.optim.Optimizer class",
    "optimizer=mine.py:Free": "takes \\*args and no parameter with a name",
    "model=torch:pi": "is of type float; allowed: a function or a class",
    "model=mine.py:net model.widht=3": "model.widht: no such key, .*did you mean 'width'",
    "model=mine.py:net model.width=wide": "model.width: got 'wide', allowed: a whole number",
    "optimizer=mine.py:Mine optimizer.lrr=1": "optimizer.lrr: no such key, .*did you mean 'lr'",
    "dataset=mine.py:net": "dataset.input_shape: must be given",
    "loss=mine.py:Loss": "mine.py has no 'Loss'",
    "optimizer=by_zero.py:Mine": r"cannot be loaded: ZeroDivisionError: division by zero \(by_zero.py, line 2\)",
    "optimizer=syntax.py:Mine": r"cannot be loaded: SyntaxError: .*\(syntax.py, line 1\)",
    "optimizer=clash.py:Mine": "imports 'beside_other', which is .*/beside_other.py and also .*; allowed: another name",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_path_is_one_line_and_writes_nothing(stranger, words, monkeypatch):
    (stranger / "broken.py").write_text("")
    (stranger / "by_zero.py").write_text("import math\n1 / 0\n")
    (stranger / "syntax.py").write_text("class Mine(:\n")
    (stranger / "clash.py").write_text("import beside_other\n")
    (stranger / "beside_other.py").write_text("")
    if "clash" in words:
        monkeypatch.setitem(sys.modules, "beside_other", type(sys)("beside_other"))
    done = command("run", "budget.steps=1", *words.split())
    (line,) = done.err.splitlines()
    assert done.code == 2 and line.startswith("sobench: ")
    assert re.search(WRONG[words], line), line
    assert not (stranger / "runs").exists()


def test_a_path_with_spaces(stranger):
    (stranger / "my file.py").write_text((stranger / "mine.py").read_text())
    assert command("run", *WORDS, "optimizer=my file.py:Mine").code == 0
    unquoted = command("run", *WORDS, "optimizer=my", "file.py:Mine")
    assert unquoted.code == 2 and "a path with spaces, quoted: 'optimizer=\"my file.py:Mine\"'" in unquoted.err
    assert directories()[0].parent.name.startswith("rings_net_Mine_")


def test_every_class_of_torch_has_its_name_in_lower_case(workplace):
    """And the names of entry points stay what they are."""
    classes = {name for name, found in vars(torch.optim).items() if isinstance(found, type)} - {"Optimizer"}
    for name in classes:
        assert registry.load("optimizers", name.lower()) is getattr(torch.optim, name)
    listed = command("list", "optimizers").out
    (line,) = [line for line in listed.splitlines() if line.startswith("nadam ")]
    assert (
        "Implements Adafactor algorithm." in listed
        and "Implements NAdam algorithm." in line
        and line.split()[-2] == "torch"
    )
    assert "momentum_decay" in command("show", "nadam").out


def test_show_list_and_check_take_paths(stranger):
    shown = command("show", "mine.py:net").out
    assert "mine.py:net: model" in shown and "A tanh layer." in shown and "model.width" in shown
    assert "mine.py:Mine: optimizer" in command("show", "mine.py:Mine").out
    assert "dataset.samples" in command("list", "datasets", "mine.py:rings").out
    with pytest.raises(UsageError, match="mine.py has no 'Mien'"):
        registry.load("optimizers", "mine.py:Mien")


def test_in_python(stranger):
    import sobench

    frame = sobench.run(*WORDS, optimizer=["mine.py:Mine", "sgd"], settings={"optimizer.lr": 0.1})
    assert [*frame.optimizer] == ["mine.py:Mine", "sgd"] and frame.train_loss.nunique() == 1
    assert sobench.load_optimizer("mine.py:Mine").__name__ == "Mine"


PARTS = """
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau

from sobench.losses import SquaredError
from sobench.results.loggers.base import Logger
from sobench.training.instruments.base import Instrument


class Twice(SquaredError):
    def __call__(self, outputs, targets):
        return 2 * super().__call__(outputs, targets)


def halving(optimizer, gamma: float = 0.5):
    return ExponentialLR(optimizer, gamma)


def plateau(optimizer):
    return ReduceLROnPlateau(optimizer)


class Steps(Instrument):
    def __init__(self, problem, clock, settings, unit: int = 1):
        super().__init__(problem, clock, settings)
        self.unit = unit

    def readings(self):
        return {"unit": float(self.unit)}


class Ends(Logger):
    def __init__(self, directory, word: str = "end"):
        super().__init__(directory)
        self.word = word

    def finish(self, summary):
        (self.directory.path / "end.txt").write_text(self.word)


class Nothing:
    pass
"""


@pytest.fixture
def parts(stranger):
    (stranger / "parts.py").write_text(PARTS)
    return stranger


def test_loss_schedule_logger_and_instrument_by_path(parts):
    """Half the learning rate on twice the loss makes the steps of the loss itself."""
    words = ["optimizer=sgd", "schedule=parts.py:halving", "instrument=parts.py:Steps", "instrument.unit=3"]
    words += ["logger=parts.py:Ends", "logger.word=done", "log.every=1"]
    assert command("run", *WORDS, *words, "loss=parts.py:Twice", "optimizer.lr=0.1", "runs=twice").code == 0
    assert command("run", *WORDS, *words, "loss=squared_error", "optimizer.lr=0.2", "runs=once").code == 0
    twice, once = (directories(parts / folder)[0] for folder in ("twice", "once"))
    losses = [[row["train_loss"] for row in rows(path, "eval")] for path in (twice, once)]
    assert losses[0] == pytest.approx([2 * loss for loss in losses[1]])
    assert rows(twice, "train")[0]["unit"] == 3 and (twice / "end.txt").read_text() == "done"
    text = (parts / "parts.py").read_text()
    (parts / "parts.py").write_text(text.replace("float(self.unit)", "float(2 * self.unit)"))
    assert "older code of its instrument" in command("status", "runs=twice").out
    (parts / "parts.py").write_text(
        text.replace("ExponentialLR(optimizer, gamma)", "ExponentialLR(optimizer, gamma / 2)")
    )
    assert "older code of its schedule" in command("status", "runs=twice").out


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("schedule=parts.py:plateau", "returned ReduceLROnPlateau; allowed: a scheduler of torch.optim.lr_scheduler"),
        ("schedule=parts.py:halve", "parts.py has no 'halve'"),
        ("schedule=parts.py:halving schedule.gamma=no", "schedule.gamma: got 'no', allowed: a number"),
        ("logger=parts.py:Nothing", "has no start; allowed: a subclass of sobench.results.loggers.base.Logger"),
        ("logger=parts.py:Ends logger.word=3", "logger.word: got 3, allowed: text"),
        ("instrument=parts.py:Nothing", "has no begin; allowed: a subclass of sobench.training.instruments.base."),
        ("loss=parts.py:Nothing", "has no takes; allowed: a subclass of sobench.losses.Loss"),
    ],
)
def test_a_wrong_part_is_one_line(parts, word, message):
    done = command("run", *WORDS, *word.split())
    (line,) = done.err.splitlines()
    assert done.code == 2 and message in line


def test_the_example_runs(workplace):
    (workplace / "mine.py").write_text((CHECKOUT / "examples/mine.py").read_text())
    words = ["optimizer=mine.py:SignDescent,adamw", "model=mine.py:net", "dataset=mine.py:rings", "batch_size=50"]
    done = command("run", "-m", *words, "budget.epochs=1", "wait=false")
    assert done.code == 0 and "2 runs: 2 done" in done.out
