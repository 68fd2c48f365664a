"""A record that orjson reads is the record that json reads, whatever is in its lines."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_tree import a_run, put, row

from sobench.results import blocks, parse, record

NUMBERS = [
    "1",
    "-0.0",
    "0.1",
    "1e-320",
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "-Infinity",
    "null",
    "true",
    "18446744073709551616",
    "123456789012345678901234567890",
    "1" + "0" * 400,
]
OTHERS = ['"word"', '"\\ud800"', "[1, 2]", '{"a": NaN}', "01", "+1", ".5", "nan", "'a'", '"\x01"', ""]
LINES = [b"", b"null", b"{", b"\xff", b"\xef\xbb\xbf{}", b"[1]", b"1, 2", b'{"kind": "eval"}', b'{"step": 1}']


def records(path: Path, monkeypatch) -> list[str]:
    """What is read with orjson, and with json alone; in words, as NaN is not itself."""
    with monkeypatch.context() as patch:
        found = [repr(record.read(path))]
        patch.setattr(blocks, "loads", json.loads)
        return [*found, repr(record.read(path))]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(LINES), st.tuples(*[st.sampled_from(NUMBERS * 3 + OTHERS)] * 2)), max_size=6))
def test_any_lines(tmp_path_factory, lines):
    path = put(tmp_path_factory.mktemp("runs"), a_run("sgd"), [])
    rows = [
        f'{{"kind": "eval", "step": {step}, "a": {line[0]}, "b": {line[1]}}}'.encode(errors="surrogatepass")
        if isinstance(line, tuple)
        else line
        for step, line in enumerate(lines)
    ]
    (path / "metrics.jsonl").write_bytes(b"\n".join([*rows, b""]))
    first, second = records(path, pytest.MonkeyPatch())
    assert first == second


@pytest.mark.parametrize("value", NUMBERS)
def test_one_number(value):
    """As a float: orjson makes one of an integer of more than 64 bits."""
    both = [text(value.encode()) for text in (parse.loads, json.loads)]
    assert repr(both[0]) == repr(both[1]) or float(both[0]) == float(both[1])


def test_not_a_number_is_read_and_no_damage(tmp_path):
    path = put(tmp_path, a_run("sgd"), [row("eval", 0, loss=float("nan")), row("eval", 1, loss=float("inf"))])
    found = record.read(path)
    assert found.damage is None and str(found.blocks[0].numbers["loss"]) == "[nan inf]"


@pytest.mark.parametrize(
    "line", [{"kind": ["eval"], "step": 1}, {"kind": "eval", "step": "1"}, {"kind": 1, "step": 1}, 3]
)
def test_a_line_that_is_no_row_is_left_out(line):
    lines = [json.dumps(line), json.dumps({"kind": "eval", "step": 2, "loss": 0.5}), ""]
    (block,), damage = blocks.read_blocks("\n".join(lines).encode())
    assert damage is None and block.numbers["loss"].tolist() == [0.5] and block.numbers["step"].tolist() == [2.0]


@given(st.lists(st.tuples(st.sampled_from(["eval", "train"]), st.integers(0, 4), st.floats(-1, 1)), max_size=12))
def test_of_two_rows_of_a_step_the_later_counts(rows):
    text = "".join(json.dumps({"kind": kind, "step": step, "loss": loss}) + "\n" for kind, step, loss in rows)
    found, damage = blocks.read_blocks(text.encode() + b'{"kind": "eval", "st')
    assert damage is None
    last = {(kind, step): loss for kind, step, loss in rows}
    read = {
        (block.kind, step): loss
        for block in found
        for step, loss in zip(block.numbers["step"].tolist(), block.numbers["loss"].tolist(), strict=True)
    }
    assert read == last and [block.kind for block in found] == sorted({kind for kind, _ in last})
    assert all(block.numbers["step"].tolist() == sorted(block.numbers["step"]) for block in found)
