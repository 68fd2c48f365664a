"""A problem of texts: word ids stay integers, the model starts from the word vectors, other models are refused."""

import pytest
import tiny_data
import torch
from harness import command

from sobench.config.grid import expand
from sobench.errors import UsageError
from sobench.training.problem import Problem

CPU = torch.device("cpu")
SMALL = ["model.hidden=4", "batch_size=8", "dataset.length=6"]


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    tiny_data.declare(monkeypatch)
    return f"data.mirror={tiny_data.write(tmp_path / 'mirror')}"


def problem(*words) -> Problem:
    (run,) = expand([*words])
    return Problem(run.config, CPU)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ids_and_vectors(mirror, dtype):
    p = problem("dataset=imdb", "model=lstm", mirror, *SMALL, f"dtype={dtype}", "dataset.dimension=50")
    assert p.train[0].dtype == p.test[0].dtype == torch.int64 and p.train[0].shape == (40, 6)
    assert {q.dtype for q in p.model.parameters()} == {getattr(torch, dtype)}
    assert p.model.embedding.weight.shape == (2 + len(set(tiny_data.WORDS)), 50)
    other = problem("dataset=imdb", "model=lstm", mirror, *SMALL, f"dtype={dtype}", "dataset.dimension=50", "seed=1")
    assert torch.equal(other.model.embedding.weight, p.model.embedding.weight)
    assert not torch.equal(other.model.output.weight, p.model.output.weight)


def test_the_description_says_how_many_words_have_vectors(mirror):
    p = problem("dataset=covid_tweets", "model=lstm", mirror, *SMALL)
    words = {*tiny_data.WORDS, "user", "httpurl"}
    assert p.data == (
        "covid_tweets: 40 train, 10 validation, 20 test, inputs of 6 words, 2 classes, "
        f"{len(words)} words, {len({*tiny_data.WORDS[::2]})} with vectors of glove.6B.zip"
    )


def test_the_vocabulary_is_cut(mirror):
    p = problem("dataset=imdb", "model=lstm", mirror, *SMALL, "dataset.vocabulary=3", "dataset.vectors=null")
    assert len(p.model.embedding.weight) == 5 and int(p.train[0].max()) == 4


def test_the_loss_falls(mirror):
    """Batches, evaluation and the closure work on word ids, and the vectors are trained with the rest."""
    p = problem("dataset=imdb", "model=lstm", mirror, *SMALL)
    before, start = p.evaluate()["train_loss"], p.model.embedding.weight.clone()
    optimizer = torch.optim.Adam(p.model.parameters(), lr=0.05)
    for (_, f), _ in zip(p.objectives(), range(20)):
        optimizer.step(f)
    assert p.evaluate()["train_loss"] < before - 0.1
    moved = (p.model.embedding.weight != start).any(1)
    assert moved[2:].any() and not moved[0]


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["dataset=imdb", "model=mlp"],
            "model: mlp takes numbers, imdb has words; allowed: a data set of numbers, or a model of words",
        ),
        (
            ["dataset=digits", "model=lstm"],
            "model: lstm takes words, digits has numbers; allowed: a data set of words, or a model of numbers",
        ),
        (
            ["dataset=imdb", "model=lstm", "model.target=input", "loss=squared_error"],
            "model.target: got 'input', imdb has words; allowed: label or binary",
        ),
    ],
)
def test_refused(mirror, words, message):
    with pytest.raises(UsageError, match=message):
        problem(*words, mirror)


@pytest.mark.parametrize(
    "word, message",
    [
        ("dataset.length=0", "dataset.length: got 0, allowed: a whole number of at least 1"),
        ("dataset.vocabulary=0", "dataset.vocabulary: got 0, allowed"),
        ("dataset.dimension=a", "dataset.dimension: got 'a', allowed"),
        ("dataset.vectors=''", "dataset.vectors: got '', allowed: glove or the path of a file, or null"),
        ("model.hidden=0", "model.hidden: got 0"),
        ("model.layers=1.5", "model.layers: got 1.5"),
        ("model.dropout=1", r"model.dropout: got 1, allowed: a number in \[0, 1\)"),
        ("model.trainable=1", "model.trainable: got 1"),
    ],
)
def test_settings_out_of_range(word, message):
    with pytest.raises(UsageError, match=message):
        expand(["dataset=imdb", "model=lstm", word])


def test_a_run_on_the_command_line(workplace, mirror):
    done = command(
        "run", "dataset=imdb", "model=lstm", mirror, *SMALL, "dataset.dimension=300", "budget=smoke", "threads=1"
    )
    assert done.code != 0 and "glove.6B.300d.txt" in done.err and done.err.count("\n") == 1
