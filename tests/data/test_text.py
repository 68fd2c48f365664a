"""Texts as word ids: splitting, vocabulary and padding, against results written out here."""

import numpy as np
import pytest

from sobench.data.text import encode, split


@pytest.mark.parametrize(
    "text, words",
    [
        ("A good film!<br /><br />Really.", "a good film really"),
        ("I don't, can't, WON'T", "i do n't ca n't wo n't"),
        ("It's they\u2019ll we've I'd I'm you're", "it 's they 'll we 've i 'd i 'm you 're"),
        ("'quoted' O'Brien's 10/10 a_b caf\u00e9", "quoted o brien 's 10 10 a_b caf\u00e9"),
        ("@USER #Covid19: 5 cases HTTPURL", "user covid19 5 cases httpurl"),
        ("... <br/>", ""),
    ],
)
def test_words(text, words):
    assert split(text) == words.split()


TRAIN = ["b b b a a c", "a b d", ""]  # b 4, a 3, c 1, d 1


def test_ids_by_frequency_then_alphabet_padded_on_the_left():
    words, (train, test) = encode([TRAIN, ["d c e a"]], vocabulary=25, length=7)
    assert words == ["b", "a", "c", "d"]
    assert train.tolist() == [[0, 2, 2, 2, 3, 3, 4], [0, 0, 0, 0, 3, 2, 5], [0] * 7]
    assert test.tolist() == [[0, 0, 0, 5, 4, 1, 3]], "e is never trained on: unknown"
    assert train.dtype == test.dtype == np.int64


def test_the_cut_of_the_vocabulary():
    words, (train, test) = encode([TRAIN, ["d c b"]], vocabulary=3, length=3)
    assert words == ["b", "a", "c"] and test.tolist() == [[1, 4, 2]]


def test_the_last_words_are_kept():
    _, (train, _) = encode([TRAIN, [""]], vocabulary=25, length=2)
    assert train.tolist() == [[3, 4], [2, 5], [0, 0]]


def test_words_of_the_test_set_alone_do_not_count():
    words, _ = encode([["a"], ["z z z z"]], vocabulary=25, length=2)
    assert words == ["a"]
