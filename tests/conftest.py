"""What every test of tensors may ask for: the device."""

import gc
import math
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # a loaded machine is slow, which is no fault

DEVICES = ["cpu", *([pytest.param("cuda", marks=pytest.mark.gpu)] if torch.cuda.is_available() else [])]


def pytest_report_header() -> str:
    return "devices: " + (
        "cpu, cuda" if torch.cuda.is_available() else "cpu (no CUDA device: the gpu tests are not collected)"
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-support", action="store_true", help="write the pages of outcomes in docs: `make support`")


@pytest.fixture(scope="session")
def patch():
    """As `monkeypatch`, for the whole session."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(autouse=True, scope="session")
def places(patch, tmp_path_factory):
    """Leases and a cache of the tests' own: they wait for nobody else, and leave no times by false clocks behind."""
    patch.setenv("SOBENCH_SLOTS", str(tmp_path_factory.mktemp("slots")))
    patch.setenv("SOBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True, scope="session")
def yaml_texts(patch):
    """A file of YAML is parsed once for each of its contents: every composition reads the same dozens of files."""
    load, parsed = yaml.load, {}

    def load_once(stream, Loader):
        if not hasattr(stream, "read"):
            return load(stream, Loader)
        start, text = stream.tell(), stream.read()
        key = Loader.__qualname__, text
        if key not in parsed:
            stream.seek(start)  # an error names the file of the stream
            parsed[key] = pickle.dumps(load(stream, Loader))
        return pickle.loads(parsed[key])

    patch.setattr(yaml, "load", load_once)


@pytest.fixture(autouse=True, scope="session")
def compositions(patch):
    """A configuration is composed once for each list of overrides."""
    import hydra
    from compositions import compose_once, load_once

    if hydra.__version__.startswith("1.3."):  # another version composes as it does for a user
        load_once(patch)
        compose_once(patch)


@pytest.fixture(autouse=True, scope="session")
def tables(patch):
    """A table of text is parsed once for each of its contents: most runs train on the digits."""
    load, parsed = np.loadtxt, {}

    def load_once(file, **settings):
        if not isinstance(file, str) or not Path(file).is_file():
            return load(file, **settings)
        key = file, Path(file).read_bytes(), str(settings)
        if key not in parsed:
            parsed[key] = load(file, **settings)
        return parsed[key].copy()

    patch.setattr(np, "loadtxt", load_once)


@pytest.fixture(autouse=True, scope="session")
def system_calls(patch):
    """No waiting for the disk, and no counting of the million objects that are frozen below, 20 ms of each run."""
    patch.setattr(os, "fsync", lambda file: None)
    patch.setattr(gc, "get_freeze_count", lambda: 1)


@pytest.fixture(autouse=True, scope="session")
def readings(patch):
    """One pass in a reading of the machine's speed, 20 ms of each run otherwise: tests judge no run by it."""
    from sobench.system import contention

    patch.setattr(contention, "PASSES", 1)


@pytest.fixture(autouse=True, scope="session")
def patience(patch):
    """No line about a composition that takes long: on a slow machine standard error is as empty as on a fast one."""
    from sobench.system.text import Wait

    patch.setattr(Wait, "PATIENCE", math.inf)


def pytest_sessionstart() -> None:
    """Imports create a million objects and no garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the garbage collector need not look through it again, 0.2 s each time."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # or some libraries report as leaked what is still there at the end


@pytest.fixture(autouse=True)
def denormals():
    """A trainer flushes denormal numbers for its whole process: a test's own must not do so for those after it."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def no_pdf(monkeypatch):
    """Empty PDF files, for tests that look at the picture of a figure alone: the PDF is a third of the work."""
    from matplotlib.backends.backend_pdf import FigureCanvasPdf

    monkeypatch.setattr(FigureCanvasPdf, "print_pdf", lambda canvas, file, **settings: Path(file).touch())


@pytest.fixture(params=DEVICES)
def device(request) -> torch.device:
    return torch.device(request.param)


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """An empty folder to run commands in, with no data but what ships with sobench."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SOBENCH_DATA", raising=False)
    monkeypatch.setenv("SOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SOBENCH_SLOTS", str(tmp_path / "slots"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """plugins(name, modules, entries): a package installed for the test, see harness.write_package."""
    from harness import write_package

    from sobench.config import files, registry

    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    loaded = set(sys.modules)

    def install(name: str, modules: dict[str, str], entries: dict[str, str], group: str = "sobench.optimizers") -> Path:
        write_package(site, name, modules, entries, group)
        forget()
        return site

    def forget() -> None:
        registry.entries.cache_clear()
        registry.installed.cache_clear()
        files.warn_of_hidden.cache_clear()

    yield install
    forget()
    for module in set(sys.modules) - loaded:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(site)):
            del sys.modules[module]
