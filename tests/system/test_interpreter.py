"""Paused garbage collection, and a fast exit that loses nothing: exit codes, output, threads, functions of atexit."""

import gc
import os
import subprocess
import sys
from argparse import Namespace
from gc import get_freeze_count  # that of gc is replaced, see conftest.py
from types import SimpleNamespace

import pytest

from sobench import cli
from sobench.system import interpreter

END = """
import atexit, sys, threading, time
from sobench import cli

def main():
    atexit.register(lambda: print("registered by the command"))
    threading.Thread(target=lambda: time.sleep(0.2) or print("a thread")).start()
    return {main}

sys.modules["sobench.cli.main"].main = main
atexit.register(lambda: print("registered before"))
cli.entry()
"""


def ended(main: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", END.format(main=main)],
        text=True,
        stderr=subprocess.PIPE,
        **({"stdout": subprocess.PIPE} | more),
    )


@pytest.mark.parametrize(
    "main, code",
    [
        ("0", 0),
        ("3", 3),
        ("sys.exit(2)", 2),
        ("sys.exit()", 0),
        ("sys.exit('why')", 1),
        ("1 / 0", 1),
        ("print('out') or 0", 0),
    ],
)
def test_the_end_of_a_command(main, code):
    """The code is the command's, threads end, what is registered is called, what is printed arrives, and a traceback
    too.
    """
    done = ended(main)
    assert done.returncode == code
    assert done.stdout.splitlines() == [
        *(["out"] if "out" in main else []),
        "a thread",
        "registered by the command",
        "registered before",
    ]
    assert done.stderr.strip().splitlines()[-1:] == {
        "1 / 0": ["ZeroDivisionError: division by zero"],
        "sys.exit('why')": ["why"],
    }.get(main, [])


def test_the_interpreter_is_not_taken_apart():
    code = "import sys; from sobench.system.interpreter import fast_exit\n"
    code += "class Kept:\n    def __del__(self): print('destroyed')\nkept = Kept()\n"
    for end, printed in (("", "destroyed\n"), ("fast_exit(0)", "")):
        assert subprocess.run([sys.executable, "-c", code + end], stdout=subprocess.PIPE, text=True).stdout == printed


def test_an_executor_with_idle_threads_ends():
    main = "__import__('concurrent.futures').futures.ThreadPoolExecutor(1).submit(print, 'out').result() or 0"
    assert ended(main).stdout.splitlines()[0] == "out"


def test_an_output_that_takes_nothing_is_an_error():
    with open("/dev/full", "w") as full:
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        assert ended("print('out') or 0", stdout=full, env=buffered).returncode == 120


@pytest.mark.parametrize("command, collects", [("status", False), ("report", False), ("list", False), ("check", True)])
def test_commands_that_read_do_not_collect(monkeypatch, command, collects):
    """Those that train, or run for days, do."""
    seen = []
    args = Namespace(func=lambda args: seen.append(gc.isenabled()) or 0)
    parser = SimpleNamespace(parse_known_args=lambda words: (args, []))
    monkeypatch.setattr(sys.modules["sobench.cli.main"], "parser", lambda: parser)
    assert cli.main([command]) == 0 and seen == [collects] and gc.isenabled()


def test_nothing_is_collected_while_collection_is_paused():
    with interpreter.paused_gc():
        assert not gc.isenabled()
        with interpreter.paused_gc():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_was_made_meanwhile_is_not_searched_at_the_next_object():
    with interpreter.paused_gc():
        made = [[] for _ in range(10_000)]
    assert not {id(one) for one in made} & {id(young) for young in gc.get_objects(generation=0)}


def test_what_others_have_frozen_stays_so():
    gc.freeze()  # it stays so for the other tests too: conftest.py has frozen what they would search
    with interpreter.paused_gc():
        pass
    assert get_freeze_count()


def test_what_the_first_run_of_a_worker_has_loaded_is_never_searched_again():
    code = """
import gc
from sobench.system import interpreter
for job in range(3):
    interpreter.begin_worker_job()
    with interpreter.paused_gc():
        made = [[] for _ in range(10_000)]
    searched = {id(one) for one in gc.get_objects()}
    assert all((id(one) in searched) == (job > 0) for one in made), job
"""
    subprocess.run([sys.executable, "-c", code], check=True)
