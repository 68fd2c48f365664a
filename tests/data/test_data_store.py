"""The store of data files: the order of its places, damaged files, downloads, and the messages for missing files."""

import http.server
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest
import yaml
from harness import SPECIAL

from sobench.data import Store, prepare
from sobench.data import store as data_store
from sobench.data.sources import File, Source, declared
from sobench.errors import Failure, UsageError

NAME = "t10k-labels-idx1-ubyte.gz"


@pytest.fixture
def server(small):
    """A server of the small files with a short delay; it counts requests, and its `contents` may be changed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            name = self.path.removeprefix("/")
            self.server.asked[name] += 1
            time.sleep(0.3)
            content = self.server.contents.get(name)
            self.send_response(200 if content is not None else 404)
            if self.server.announces:
                self.send_header("Content-Length", str(len(small.contents[name])))
            if self.server.endless:
                return self.chunks()
            self.end_headers()
            return self.wfile.write(content or b"")

        def chunks(self):
            """4 MB in parts, until the reader leaves."""
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with suppress(OSError):
                for _ in range(1000):
                    self.wfile.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        served.asked, served.contents = Counter(), dict(small.contents)
        served.announces, served.endless = True, False
        served.url = f"http://127.0.0.1:{served.server_port}/"
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served
        served.shutdown()


@pytest.fixture
def mirror(small, tmp_path):
    return small.write(tmp_path / "mirror")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def leftovers(cache):
    return [path.name for path in cache.rglob("*.part")]


def test_mirror_is_first_and_untouched(small, mirror, cache):
    small.write(cache)
    assert small.store(mirror, cache).path("mnist", NAME) == mirror / "MNIST/raw" / NAME
    assert sorted(path.name for path in mirror.rglob("*") if path.is_file()) == sorted(small.contents)


def test_cache_is_next(small, tmp_path, cache):
    (tmp_path / "empty").mkdir()
    small.write(cache)
    assert small.store(tmp_path / "empty", cache).path("mnist", NAME) == cache / "MNIST/raw" / NAME


def test_download_is_last_and_happens_once(small, server, cache):
    store = small.store(None, cache, server.url)
    for _ in range(2):
        assert store.path("mnist", NAME).read_bytes() == small.contents[NAME]
    assert server.asked == {NAME: 1} and not leftovers(cache)


def test_fetch_copies_from_the_mirror(small, mirror, cache):
    target = small.store(mirror, cache).fetch("mnist", NAME)
    assert target == cache / "MNIST/raw" / NAME and target.read_bytes() == small.contents[NAME]


def test_a_damaged_mirror_is_named_and_not_used(small, mirror, cache, server, capsys):
    damaged = mirror / "MNIST/raw" / NAME
    damaged.write_bytes(bytes(len(small.contents[NAME])))  # the right size
    store = small.store(mirror, cache, server.url)
    for _ in range(2):  # the second time it is in the cache
        assert store.path("mnist", NAME).read_bytes() == small.contents[NAME]
        assert f"{damaged} has the wrong checksum and is not used" in capsys.readouterr().err
    assert damaged.read_bytes() == bytes(len(small.contents[NAME])), "a mirror is never written to"


def test_a_damaged_cache_is_replaced(small, cache, server, capsys):
    small.write(cache)
    damaged = cache / "MNIST/raw" / NAME
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert small.store(None, cache, server.url).path("mnist", NAME).read_bytes() == small.contents[NAME]
    assert str(damaged) in capsys.readouterr().err


@pytest.mark.parametrize("with_mirror", [True, False])
def test_offline(small, tmp_path, cache, with_mirror):
    (tmp_path / "empty").mkdir()
    store = small.store(tmp_path / "empty" if with_mirror else None, cache)
    with pytest.raises(Failure) as caught:
        store.path("mnist", NAME)
    text = str(caught.value)
    assert f"cannot get {NAME} from http://127.0.0.1:9/{NAME} (" in text and "\n" not in text
    assert f"manual download: put it in {cache / 'MNIST/raw'}" in text
    assert (f" or {tmp_path / 'empty' / 'MNIST/raw'}" in text) == with_mirror
    assert ("SOBENCH_DATA" in text) != with_mirror


def test_offline_names_the_damaged_files(small, mirror, cache):
    small.write(cache)
    for root in (mirror, cache):
        (root / "MNIST/raw" / NAME).write_bytes(b"damaged")
    with pytest.raises(Failure) as caught:
        small.store(mirror, cache).path("mnist", NAME)
    for root in (mirror, cache):
        assert f"{root / 'MNIST/raw' / NAME} has the wrong checksum" in str(caught.value)


@pytest.mark.parametrize(
    "damage", [lambda b: bytes(len(b)), lambda b: b[:-3], lambda b: None], ids=["other bytes", "cut off", "not found"]
)
def test_a_bad_download_is_not_kept(small, server, cache, damage):
    server.contents[NAME] = damage(small.contents[NAME])
    with pytest.raises(Failure, match=f"cannot get {NAME} from {server.url}"):
        small.store(None, cache, server.url).path("mnist", NAME)
    assert not (cache / "MNIST/raw" / NAME).exists() and not leftovers(cache)


def test_a_part_left_by_a_killed_process_does_no_harm(small, server, cache):
    (cache / "MNIST/raw").mkdir(parents=True)
    (cache / "MNIST/raw" / f".{NAME}.part").write_bytes(b"x" * 10**5)
    assert small.store(None, cache, server.url).path("mnist", NAME).read_bytes() == small.contents[NAME]
    assert not leftovers(cache)


def test_two_processes_at_once_download_once(small, server, tmp_path, cache):
    entry = {
        "about": "small",
        "folder": "MNIST/raw",
        "urls": [server.url],
        "files": {name: {"checksum": file.checksum, "bytes": file.bytes} for name, file in small.source.files.items()},
    }
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump({"mnist": entry}))
    program = (
        "import sys; from pathlib import Path; from sobench.data.sources import declared\n"
        "from sobench.data import Store\n"
        "store = Store(None, Path(sys.argv[2]), declared(Path(sys.argv[1])))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(*[store.path('mnist', name) for name in store.sources['mnist'].files])\n"
        "assert 'torch' not in sys.modules"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "sources.yaml"), str(cache)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0] and answers[0] == answers[1]
    assert server.asked == dict.fromkeys(small.contents, 1)
    assert {path.name: path.read_bytes() for path in (cache / "MNIST/raw").iterdir()} == small.contents


@pytest.mark.parametrize(
    "dataset, filename",
    [("../mnist", NAME), ("mnist", "../" + NAME), ("mnist", "/etc/passwd"), ("mnits", NAME), ("", ""), ("mnist", "")],
)
def test_only_declared_names_become_paths(small, mirror, cache, dataset, filename):
    with pytest.raises(UsageError):
        small.store(mirror, cache).path(dataset, filename)
    assert not cache.exists()


@pytest.mark.parametrize(
    "entry",
    [
        {"about": "", "files": {"../x": {"checksum": "md5:0", "bytes": 1}}},
        {"about": "", "files": {"/x": {"checksum": "md5:0", "bytes": 1}}},
        {"about": "", "folder": "../up"},
        {"about": "", "folder": "/root"},
        {"about": "", "folder": "..\\up"},
    ],
)
def test_a_declaration_cannot_leave_its_folder(tmp_path, entry):
    (tmp_path / "sources.yaml").write_text(yaml.safe_dump({"bad": entry}))
    with pytest.raises(ValueError, match="bad: "):
        declared(tmp_path / "sources.yaml")


def test_an_unusable_cache_or_mirror_is_one_line(small, mirror, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="mnist: cannot write .*SOBENCH_CACHE"):
        small.store(mirror, tmp_path / "file").fetch("mnist", NAME)
    with pytest.raises(UsageError, match="SOBENCH_DATA.*is not a folder"):
        Store(tmp_path / "file", tmp_path)


def test_default_places(monkeypatch, mirror, cache):
    monkeypatch.setenv("SOBENCH_DATA", str(mirror))
    monkeypatch.setenv("SOBENCH_CACHE", str(cache))
    assert (Store.default().mirror, Store.default().cache) == (mirror, cache)
    assert Store.default(cache.parent, mirror).mirror == cache.parent
    monkeypatch.setenv("SOBENCH_DATA", "")
    monkeypatch.delenv("SOBENCH_CACHE")
    monkeypatch.setenv("HOME", str(cache))
    assert (Store.default().mirror, Store.default().cache) == (None, cache / ".cache/sobench")


# Files without a published checksum, and stand-ins


def unverified(folder="d", stand_in=""):
    files = {"a.mat": File("a.mat")}
    return {
        "theirs": Source("theirs", "", folder=folder, urls=("http://127.0.0.1:9/",), files=files, stand_in=stand_in)
    }


def test_a_download_without_a_checksum_is_as_long_as_announced(server, cache):
    source = unverified()["theirs"]
    store = Store(None, cache, {"theirs": replace(source, urls=(server.url,), files={NAME: File(NAME)})})
    whole = server.contents[NAME]
    server.contents[NAME] = whole[:-1]
    with pytest.raises(Failure, match=rf"{len(whole) - 1} of {len(whole)} bytes came"):
        store.path("theirs", NAME)
    server.announces = False
    with pytest.raises(Failure, match="the server announces no length, and no checksum is published"):
        store.path("theirs", NAME)
    assert not (cache / "d" / NAME).exists() and not leftovers(cache)
    server.announces, server.contents[NAME] = True, whole
    assert store.path("theirs", NAME).read_bytes() == whole


@pytest.mark.parametrize("declared_bytes", [0, 300_000])
def test_a_download_without_an_end_is_given_up(server, cache, monkeypatch, declared_bytes):
    monkeypatch.setattr(data_store, "LARGEST", 200_000)
    server.announces, server.endless = False, True
    file = File(NAME, "md5:" + "0" * 32, declared_bytes) if declared_bytes else File(NAME)
    store = Store(None, cache, {"theirs": replace(unverified()["theirs"], urls=(server.url,), files={NAME: file})})
    with pytest.raises(Failure, match=f"more than {declared_bytes or 200_000:,} bytes came") as caught:
        store.path("theirs", NAME)
    assert "\n" not in str(caught.value) and not leftovers(cache) and not (cache / "d" / NAME).exists()


def test_a_checksum_needs_no_announced_length(small, server, cache):
    server.announces = False
    assert small.store(None, cache, server.url).path("mnist", NAME).read_bytes() == small.contents[NAME]


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_special_file_is_named_and_not_read(small, server, tmp_path, cache, capsys, kind):
    for root, name in ((tmp_path, NAME), (cache, NAME), (cache, f".{NAME}.part")):
        (root / "MNIST/raw").mkdir(parents=True, exist_ok=True)
        if root == tmp_path or kind != "folder":
            SPECIAL[kind](root / "MNIST/raw" / name)
    SPECIAL[kind](cache / "checksums.json")
    store = small.store(tmp_path, cache, server.url)
    assert store.path("mnist", NAME).read_bytes() == small.contents[NAME]
    assert f"{tmp_path / 'MNIST/raw' / NAME} is not a file and is not used" in capsys.readouterr().err
    assert store.checksum(cache / "MNIST/raw" / NAME).startswith("sha256:")
    with pytest.raises(OSError, match="not a file"):
        store.checksum(tmp_path / "MNIST/raw" / NAME)


def put(root, name, content=b"anything"):
    (root / "d").mkdir(parents=True, exist_ok=True)
    (root / "d" / name).write_bytes(content)
    return root / "d" / name


def test_a_file_without_a_checksum_is_taken_as_it_is(tmp_path, cache):
    file = put(tmp_path, "a.mat")
    store = Store(tmp_path, cache, unverified())
    assert store.path("theirs", "a.mat") == file and store.fetch("theirs", "a.mat").read_bytes() == b"anything"
    assert not store.source("theirs").verifiable and store.source("theirs").bytes is None


def test_but_not_an_empty_one(tmp_path, cache):
    put(tmp_path, "a.mat", b"")
    with pytest.raises(Failure, match="cannot get a.mat"):
        Store(tmp_path, cache, unverified()).path("theirs", "a.mat")


def test_it_may_be_declared_with_nothing(tmp_path):
    (tmp_path / "sources.yaml").write_text("theirs:\n  about: x\n  files:\n    a.mat:\n  stand_in: b.npz\n")
    source = declared(tmp_path / "sources.yaml")["theirs"]
    assert source.files == {"a.mat": File("a.mat", "", 0)} and source.stand_in == "b.npz"
    (tmp_path / "bad.yaml").write_text("theirs:\n  about: x\n  stand_in: ../b.npz\n")
    with pytest.raises(ValueError, match="is not a plain file name"):
        declared(tmp_path / "bad.yaml")


def test_a_stand_in_is_read_where_none_of_the_files_is(tmp_path, cache):
    (tmp_path / "empty").mkdir()
    store = Store(tmp_path / "empty", cache, unverified(stand_in="b.npz"))
    with pytest.raises(
        Failure, match=f"manual download: put it in {cache / 'd'} or {tmp_path / 'empty/d'}, or b.npz in its place"
    ):
        store.paths("theirs")
    stand_in = put(cache, "b.npz")
    assert store.paths("theirs") == [stand_in] == [store.stand_in("theirs")]
    file = put(cache, "a.mat")
    assert store.paths("theirs") == [file] and store.stand_in("theirs") is None


def test_prepare_has_the_files_of_one_set(tmp_path, cache):
    sources = {
        f"many-{name}": Source(f"many-{name}", "", folder="d", files={name: File(name)}) for name in ("one", "two")
    }
    put(tmp_path, "one")
    store = Store(tmp_path, cache, sources)
    prepare({"name": "many", "set": "one"}, store)
    prepare({"name": "of their own"}, store)
    with pytest.raises(Failure, match="many-two: cannot get two"):
        prepare({"name": "many", "set": "two"}, store)
