"""Texts as characters: samples that follow each other, labels one character later, and files that are refused."""

import platform
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from harness import command, directories, summary

from sobench.config import registry
from sobench.data import Store, load
from sobench.data.characters import MODULE, pydoc, text
from sobench.data.dataset import described
from sobench.errors import UsageError
from sobench.results.fingerprint import data

TEXT = "The quick brown fox jumps over the lazy dog; naïve “café” – 7 times.\n" * 3


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    return path


def test_a_text_is_read_once_and_each_label_is_the_next_character(file):
    dataset = text(Store.default(), path=str(file), length=5)
    cut = len(TEXT) * 9 // 10
    for (inputs, labels), part in ((dataset.train, TEXT[:cut]), (dataset.test, TEXT[cut:])):
        count = (len(part) - 1) // 5
        spelt = ["".join(dataset.symbols[i] for i in ids.flatten()) for ids in (inputs, labels)]
        assert inputs.shape == labels.shape == (count, 5) and inputs.dtype == labels.dtype == torch.int64
        assert spelt == [part[: 5 * count], part[1 : 5 * count + 1]]
    assert dataset.symbols == "".join(sorted(set(TEXT))) and dataset.classes == len(set(TEXT))
    assert dataset.outputs == 5 * dataset.classes and dataset.input_shape == (5,) and dataset.kind == "characters"
    train, test = ((len(part) - 1) // 5 for part in (TEXT[:cut], TEXT[cut:]))
    classes = f"inputs of 5 characters, {dataset.classes} classes"
    assert str(dataset) == f"text: {train} train, {test} test, {classes}, file mine.txt"
    assert described(str(dataset)).train == train


def test_the_text_of_python_says_whose_it_is():
    dataset = pydoc(Store.default(), length=32)
    assert f"{MODULE} of Python {platform.python_version()}, sha256 " in str(dataset)
    source = registry.module_file(MODULE)
    ids = torch.cat([dataset.train[0].flatten(), dataset.test[0].flatten()])
    spelt = "".join(dataset.symbols[i] for i in ids[:2000])
    assert len(ids) > 300_000 and dataset.classes < 200 and 'The "assert" statement' in spelt
    again = load("pydoc", {"length": 32}, Store.default())
    assert torch.equal(again.train[0], dataset.train[0])
    found = data({"dataset": {"name": "pydoc", "length": 32}})
    assert found == data({"dataset": {"name": "pydoc", "length": 16}})
    assert source is not None and found is not None


def test_the_text_of_another_python_is_other_data(tmp_path, monkeypatch):
    before = data({"dataset": {"name": "pydoc", "length": 32}})
    other = tmp_path / "topics.py"
    other.write_text("topics = {}")
    monkeypatch.setattr("sobench.data.store.module_file", lambda module: other if module == MODULE else None)
    assert data({"dataset": {"name": "pydoc", "length": 32}}) not in (before, None)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"path": "absent.txt"}, r"dataset\.path: absent\.txt is not there"),
        ({"length": 21}, rf"dataset\.length: got 21, text has {len(TEXT)} characters; allowed: at most 20"),
        ({"sha256": "0" * 64}, r"dataset\.sha256: got 0{64}, but .*mine\.txt has " + "[0-9a-f]{64}"),
        ({"path": b"\xff\xfe1"}, r"dataset\.path: .* is not a text in UTF-8"),
        ({"path": b"abc", "length": 1}, "dataset.length: got 1, text has 3 characters; allowed: a longer text"),
        ({"path": b""}, "text has 0 characters; allowed: a longer text"),
    ],
)
def test_what_is_no_text_is_refused(options, message, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(TEXT) - len(TEXT) * 9 // 10 == 21
    if isinstance(content := options.get("path"), bytes):
        file.write_bytes(content)
        options = options | {"path": str(file)}
    with pytest.raises(UsageError, match=message):
        text(Store.default(), **({"path": str(file), "length": 5} | options))


SMALL = [
    "model=gpt",
    "model.width=8",
    "model.depth=1",
    "model.heads=2",
    "dataset.length=8",
    "budget=smoke",
    "threads=1",
]


def test_a_run_on_a_file_of_ones_own_is_identified_by_its_contents(workplace, file):
    words = ["dataset=text", f"dataset.path={file}", "batch_size=4", "optimizer=kfac", *SMALL]
    done = command("run", *words)
    assert done.code == 0, done.err
    (directory,) = directories()
    final = summary(directory)["final"]
    loss, bits = final["test_character_loss"], final["test_bits_per_character"]
    assert final["test_loss"] == pytest.approx(8 * loss) and bits == pytest.approx(loss / 0.6931471805599453)
    assert 0 <= final["test_accuracy"] <= 1
    other = file.with_name("copy.txt")
    other.write_bytes(file.read_bytes())
    assert "nothing to do" in command("run", *(w.replace("mine", "copy") for w in words)).out
    assert sha256(file.read_bytes()).hexdigest() in (directory / "config.yaml").read_text()
    file.write_text(TEXT.upper())
    assert command("run", *words).code == 0 and len(directories()) == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (["dataset=digits", "model=gpt"], "model: gpt takes characters, digits has numbers; allowed: a data set of"),
        (["dataset=pydoc", "model=mlp"], "model: mlp takes numbers, pydoc has characters; allowed: a data set of"),
        (["dataset=pydoc", "model=gpt", "loss=cross_entropy"], "allowed: sequence_cross_entropy"),
        (
            ["dataset=digits", "model=mlp", "loss=sequence_cross_entropy"],
            "digits has no label at each position; allowed",
        ),
        (["dataset=pydoc", "model=gpt", "model.target=input"], "pydoc has characters; allowed: label"),
        (["dataset=pydoc", "model=gpt", "optimizer=smw_gn", "batch_size=4096"], "outputs of each of 4,096 samples"),
    ],
)
def test_settings_that_do_not_go_with_characters(workplace, words, message):
    ended = command("run", *words)
    assert ended.code == 2 and len(ended.errors) == 1 and message in ended.errors[0]
