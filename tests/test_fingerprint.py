"""What tells results of older code, or other data, apart."""

import json
import sys

import pytest

from sobench import method_code
from sobench.data.sources import File, Source
from sobench.data.store import Store
from sobench.fingerprint import data, fingerprint, recorded
from sobench.method_code import method

OPTIMIZER = '''"""About it."""
from . import parts
from theirs.deep import help_out


class Theirs:
    """A method."""

    def step(self, f):
        return parts.half(f())  # half of it
'''
PARTS = "def half(x):\n    return x / 2\n"


@pytest.fixture
def theirs(plugins):
    """digest(**files): the digest of a plug-in's method whose files have these texts."""
    texts = {"opt": OPTIMIZER, "parts": PARTS, "deep": "def help_out(): ...\n", "alone": "x = 1\n"}
    site = plugins("theirs", {f"theirs/{name}.py": text for name, text in {"__init__": "", **texts}.items()},
                   {"theirs": "theirs.opt:Theirs"})

    def digest(**changed: str) -> str:
        for name, text in {**texts, **changed}.items():
            (site / "theirs" / f"{name}.py").write_text(text)
        method_code._optimizer.cache_clear(), method_code._read.cache_clear()
        return method({"optimizer": {"name": "theirs"}})

    yield digest
    method_code._optimizer.cache_clear(), method_code._read.cache_clear()


def test_a_method_is_its_code_and_all_that_it_imports_of_its_package(theirs):
    first = theirs()
    assert first == theirs()
    assert first != theirs(opt=OPTIMIZER.replace("f()", "f() + 1"))
    assert first != theirs(parts=PARTS.replace("2", "3"))
    assert first != theirs(deep="def help_out(): return 1\n")
    assert first == theirs(alone="x = 2\n")
    assert "theirs" not in sys.modules


def test_comments_docstrings_and_layout_do_not_count(theirs):
    text = OPTIMIZER.replace("About it.", "About something else.").replace("# half of it", "")
    text = text.replace('    """A method."""\n', "")
    assert theirs() == theirs(opt=text + "\n\n# the end\n", parts='def half(x):\n    "Of x."\n    return (x / 2)\n')


def test_what_does_not_parse_is_told_apart_too(theirs):
    assert theirs(parts="def half(") != theirs(parts="def half((")


def test_ours_have_their_own_and_share_what_they_import():
    digest = lambda name: method({"optimizer": {"name": name}})
    assert digest("kfac") != digest("tnt") and len(digest("kfac")) == 64
    sources = set(method_code._sources("sobench.optim.kfac"))
    assert {"sobench.optim.kfac", "sobench.optim.base", "sobench.linalg.kronecker"} <= sources
    assert "sobench.objective" not in sources
    assert digest("nobody") is None
    beside = {"optimizer": {"name": "sgd"}, "instrument": {"companions": {"one": {"name": "tnt"}}}}
    assert method(beside) != digest("sgd")


def test_torchs_own_are_its_version(monkeypatch):
    now = method({"optimizer": {"name": "adam"}})
    method_code._optimizer.cache_clear()
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0")
    assert method({"optimizer": {"name": "adam"}}) != now
    method_code._optimizer.cache_clear()


def test_data_is_declared_checksums_or_those_of_the_contents(tmp_path, monkeypatch):
    sources = {"one": Source("one", "about", folder="one", stand_in="one.npz",
                             files={"a": File("a", "md5:1", 3), "b": File("b")})}
    store = Store(None, tmp_path, sources)
    assert store.checksums("one") is None
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "one.npz").write_text("stand-in")
    (stand_in,) = store.checksums("one")
    (tmp_path / "one" / "a").write_text("abc")
    assert store.checksums("one") is None
    (tmp_path / "one" / "b").write_text("xyz")
    declared, computed = store.checksums("one")
    assert declared == "md5:1" and computed.startswith("sha256:") and computed != stand_in
    monkeypatch.setattr("sobench.data.checksums.digest", lambda *_: pytest.fail("it is known"))
    from sobench.data.checksums import _checksum

    _checksum.cache_clear()  # another process
    assert store.checksums("one") == [declared, computed]
    monkeypatch.undo()
    (tmp_path / "one" / "b").write_text("other")
    assert store.checksums("one")[1] != computed
    (tmp_path / "checksums.json").write_text("[")
    _checksum.cache_clear()
    assert store.checksums("one")[1].startswith("sha256:")


def test_word_vectors_of_ones_own_count(tmp_path, monkeypatch):
    monkeypatch.setenv("SOBENCH_CACHE", str(tmp_path / "cache"))
    settings = {"dataset": {"name": "noise", "vectors": str(tmp_path / "words.txt")}}
    assert data(settings) is None
    (tmp_path / "words.txt").write_text("a 1")
    first = data(settings)
    (tmp_path / "words.txt").write_text("a 22")
    assert None not in (first, data(settings)) and data(settings) != first
    assert data(settings | {"data": {"mirror": "/nowhere", "cache": None}}) is None


def test_a_run_that_goes_on_keeps_what_it_was_begun_with(tmp_path):
    settings = {"optimizer": {"name": "sgd"}, "dataset": {"name": "digits"}}
    assert recorded(tmp_path) is None
    assert fingerprint(settings) == {"method": method(settings), "data": data(settings)}
    assert fingerprint(settings, before=tmp_path) == {"method": None, "data": None}  # by what it was begun nobody knows
    (tmp_path / "environment.json").write_text(json.dumps({"fingerprint": {"method": "older", "data": None}}))
    assert fingerprint(settings, before=tmp_path) == {"method": "older", "data": None}
    for text in ("", "[]", '{"fingerprint": 3}'):
        (tmp_path / "environment.json").write_text(text)
        assert recorded(tmp_path) is None
