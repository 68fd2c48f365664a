"""Tests of the exit codes and of exceptions as one line of text."""

import pytest

from sobench.errors import Failure, SobenchError, Unsupported, UsageError, described, one_line


@pytest.mark.parametrize(("error", "code"), [(UsageError, 2), (Unsupported, 2), (Failure, 1), (SobenchError, 1)])
def test_each_error_has_the_exit_code_of_who_can_mend_it(error, code):
    assert issubclass(error, SobenchError)
    assert error.exit_code == code


def test_described_is_the_kind_and_the_first_line():
    assert described(ValueError("first\nsecond")) == "ValueError: first"
    assert described(UsageError("\n  lr: got 0  \nallowed")) == "UsageError: lr: got 0  "
    assert (
        described(FileNotFoundError(2, "No such file", "a.txt")) == "FileNotFoundError: [Errno 2] No such file: 'a.txt'"
    )


@pytest.mark.parametrize("text", ["", "  \n "])
def test_described_of_an_empty_text_is_the_kind_alone(text):
    assert described(KeyboardInterrupt(text)) == "KeyboardInterrupt"


def test_described_keeps_what_follows_the_kind():
    assert described(RuntimeError("damaged: ")) == "RuntimeError: damaged:"


def test_one_line_folds_whitespace():
    assert one_line("  a\n\tb   c \n") == "a b c"
    assert one_line(ValueError("a\nb")) == "a b"
    assert one_line(3) == "3"
    assert one_line(" \n") == ""


@pytest.mark.parametrize(("limit", "line"), [(None, "ab cd"), (0, ""), (4, "ab c"), (5, "ab cd"), (80, "ab cd")])
def test_one_line_is_cut_after_folding(limit, line):
    assert one_line("ab  \n cd", limit) == line
