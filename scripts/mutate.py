"""Plant mistakes in optim, linalg, objective and losses, one at a time, and count those that the tests catch.

    python scripts/mutate.py                         # plant COUNT mistakes; append outcomes to runs/mutants.jsonl
    python scripts/mutate.py --list                  # print the chosen mistakes
    python scripts/mutate.py --only 'optim/kfac*'    # those whose name matches a pattern
    python scripts/mutate.py --survivors             # test again the mistakes that no test caught

A mistake (a mutant) is one change by rule: a sign, a transpose, a factor such as 1/N, beta for 1 - beta, a period off
by one, a statement that is left out, a comparison, a constant. `RULES` lists the rules. A mutant is named by its file,
its function and the code before and after, so that its outcome is kept while the lines around it move. `--seed` chooses
others.

The changed code is in a copy of src/; the checkout is not written to. A first pass records which functions each test
calls. A mutant is then tried on the tests that call its function, those of its own module first, until one fails. A
test that takes much longer than on the right code is stopped, and its mutant counts as caught. Outcomes:

    assertion     a test compared a value and failed
    error         an exception that no test expects, or a crash
    time          a test took ten times as long as on the right code, and ten seconds more
    survived      no test failed

`EQUIVALENT` lists the mutants that cannot fail, each with its reason. They are not planted. A run that was interrupted
goes on where it was. It takes one process at low priority.
"""

from __future__ import annotations

import argparse
import ast
import compileall
import copy
import fnmatch
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import pytest

ROOT = Path(__file__).parents[1]
COUNT, SEED = 300, 0

TESTS = {
    "linalg": ("tests/linalg", "tests/optim"),
    "losses.py": ("tests/test_losses.py", "tests/objective"),
    "objective": ("tests/objective", "tests/optim", "tests/test_losses.py"),
    "optim": ("tests/optim",),
}
"""Package or module of sobench -> the tests that its mutants are tried on."""

WARM = ("hydra", "hypothesis", "numpy", "omegaconf", "pandas", "scipy.optimize", "torch.func", "torchvision")
"""What is imported once, before the processes that test a mutant are forked."""

EQUIVALENT: dict[str, str] = {
    "linalg/cg_descent.py::_due: 1 -> 2": "one more number of updates, above max_iterations",
    "linalg/cubic.py::minimise_cubic: H_zz_inv @ (g - H @ x) -> (g - H @ x) @ H_zz_inv": "the matrix is symmetric",
    "linalg/cubic.py::_pseudo_inverse: 0 -> 1 #3": "the scale of a row of zeros, which stays one",
    "linalg/cubic.py::_secular: c.abs() - r_0 * shifted -> c.abs() + r_0 * shifted #2": "an iteration that converges "
    "from any start left of the root starts at most a factor of sqrt(3) further left",
    "linalg/cubic.py::_secular: range(ITERATIONS) -> range(ITERATIONS - 1)": "30 Newton steps where ten are enough",
    "linalg/dense.py::_solve: b.isfinite().all() -> b.isfinite().any()": "the eigenvalues give the same outcome later",
    "linalg/kronecker.py::gram: 2 -> 3": "the size above which a product is made by blocks: speed alone",
    "linalg/quasi_newton.py::Compact.__matmul__: min(self.state['count'], len(self.state['pairs'])) -> "
    "max(self.state['count'], len(self.state['pairs']))": "the further pairs are zero: speed alone",
    "linalg/roots.py::inverse_roots: 2 * BLOCK -> BLOCK": "the size above which matrices are not stacked: speed alone",
    "linalg/roots.py::inverse_roots: A.is_cuda or len(A) < 2 * BLOCK -> A.is_cuda and len(A) < 2 * BLOCK": "stacking: "
    "speed alone",
    "losses.py::SquaredError.sample: outputs + torch.empty_like(outputs).normal_(generator=generator) -> "
    "outputs - torch.empty_like(outputs).normal_(generator=generator)": "the normal distribution is symmetric",
    "losses.py::module: 1 -> 2": "REVISION, which is raised by hand",
    "objective/layers/records.py::module: 0 -> 1": "the version of outputs that there are not yet",
    "objective/layers/rows.py::module: 24 -> 25": "CHUNK: memory alone",
    "optim/kbfgs.py::KBFGS._update_A: H @ a -> a @ H": "the matrix is symmetric",
}
"""Name of a mutant -> the reason why it changes nothing that the documentation promises."""


# Rules: node -> the nodes that may stand in its place

TRANSPOSES = {"T", "mT", "mH"}
DROPPED = {"sqrt", "sqrt_", "rsqrt", "square", "square_", "abs", "abs_", "t", "transpose", "conj", "conj_physical_"}
DROPPED |= {"clone", "neg", "neg_", "reciprocal", "log", "exp"}
PARTNERS = {"min": "max", "amin": "amax", "minimum": "maximum", "argmin": "argmax", "floor": "ceil", "any": "all"}
PARTNERS |= {"add_": "sub_", "add": "sub", "mul_": "div_", "mul": "div", "sum": "mean", "clamp_min": "clamp_max"}
PARTNERS |= {right: left for left, right in PARTNERS.items()}
DECAYS = ("beta", "decay", "momentum", "dampening", "rho")
DAMPINGS = ("damping", "eps", "shift", "tau", "tiny", "root")
COMPARISONS: dict[type, tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
UNORDERED = {"cast", "getattr", "hasattr", "isinstance", "issubclass", "max", "min", "range", "setattr", "super", "zip"}


def sign(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub() as operator, right) if not (_is_text(left) or _is_text(right)):
            yield ast.BinOp(left, ast.Sub() if isinstance(operator, ast.Add) else ast.Add(), right)
        case ast.AugAssign(target, ast.Add() | ast.Sub() as operator, value):
            yield ast.AugAssign(target, ast.Sub() if isinstance(operator, ast.Add) else ast.Add(), value)
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Constant):
            yield operand
        case ast.Call(keywords=keywords):
            for i, keyword in enumerate(keywords):
                if keyword.arg in ("alpha", "value"):
                    yield _with(node, "keywords", i, ast.keyword(keyword.arg, ast.UnaryOp(ast.USub(), keyword.value)))


def transpose(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Attribute(value, attribute) if attribute in TRANSPOSES:
            yield value
        case ast.BinOp(left, ast.MatMult(), right):
            yield ast.BinOp(right, ast.MatMult(), left)


def factor(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp(left, ast.Mult(), right) if not (_is_text(left) or _is_text(right)):
            yield from (left, right)
        case ast.BinOp(left, ast.Div() | ast.FloorDiv() | ast.Pow(), _):
            yield left
        case ast.BinOp(ast.Constant(1), ast.Sub(), right):
            yield right
        case ast.Name() | ast.Subscript() if _mentions(node, DECAYS) and isinstance(node.ctx, ast.Load):
            yield ast.BinOp(ast.Constant(1), ast.Sub(), node)


def damping(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.BinOp(left, ast.Add(), right) if _mentions(right, DAMPINGS):
            yield left
        case ast.BinOp(left, ast.Add(), right) if _mentions(left, DAMPINGS):
            yield right


def function(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Call(ast.Attribute(value, attribute)) if attribute in DROPPED:
            yield value
        case ast.Call(ast.Attribute(ast.Name("math"), "sqrt" | "log" | "exp" | "ceil"), [argument]):
            yield argument
        case ast.Call(ast.Attribute(value, attribute) as callee) if attribute in PARTNERS and not _is_text(value):
            yield _with(node, "func", None, ast.Attribute(callee.value, PARTNERS[attribute], ast.Load()))
        case ast.Call(ast.Name("min" | "max" | "any" | "all" as name)):
            yield _with(node, "func", None, ast.Name(PARTNERS[name], ast.Load()))
        case ast.Call(keywords=keywords):
            for i, keyword in enumerate(keywords):
                if keyword.arg in ("min", "max"):
                    yield _with(node, "keywords", i, ast.keyword(PARTNERS[keyword.arg], keyword.value))


def arguments(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Call(callee, [first, second, *rest], keywords) if _name(callee) not in UNORDERED:
            if not (isinstance(first, ast.Starred) or isinstance(second, ast.Starred) or _is_text(first)):
                yield ast.Call(callee, [second, first, *rest], keywords)


def period(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Call(ast.Name("range"), [*first, stop]):
            yield ast.Call(node.func, [*first, ast.BinOp(stop, ast.Sub(), ast.Constant(1))], [])
        case ast.BinOp(left, ast.Mod(), right) if not _is_text(left):
            yield ast.BinOp(ast.BinOp(left, ast.Add(), ast.Constant(1)), ast.Mod(), right)


def comparison(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(left, [operator, *rest], comparators):
            for other in COMPARISONS[type(operator)]:
                yield ast.Compare(left, [other(), *rest], comparators)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)
        case ast.If(test, body, orelse) | ast.While(test, body, orelse) if isinstance(test, (ast.Call, ast.Name)):
            yield _with(node, "test", None, ast.UnaryOp(ast.Not(), test))


def constant(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(float() as value) if value:
            yield ast.Constant(2 * value)
        case ast.Constant(float()):
            yield ast.Constant(1.0)


def stale(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Expr(ast.Call(callee)) if _name(callee) != "__init__":
            yield ast.Pass()
        case ast.AugAssign() | ast.Assign([ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()


RULES: tuple[Callable[[ast.AST], Iterator[ast.AST]], ...] = (
    sign,
    transpose,
    factor,
    damping,
    function,
    arguments,
    period,
    comparison,
    constant,
    stale,
)


def _with(node: ast.AST, field: str, index: int | None, value: ast.AST) -> ast.AST:
    """A copy of `node` with another value of a field, or of one entry of a field that is a list."""
    changed = copy.copy(node)
    if index is not None:
        old = getattr(node, field)
        value = [*old[:index], value, *old[index + 1 :]]  # type: ignore[assignment]
    setattr(changed, field, value)
    return changed


def _is_text(node: ast.AST) -> bool:
    """Whether a node is a string or a list as it is written, whose + and * are not arithmetic."""
    return isinstance(node, (ast.JoinedStr, ast.List, ast.ListComp, ast.Tuple)) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _name(node: ast.AST) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def _mentions(node: ast.AST, words: Iterable[str]) -> bool:
    text = ast.unparse(node)
    return any(word in text for word in words)


# Mutants


@dataclass(frozen=True, order=True)
class Mutant:
    """A change of the bytes start..end of a file of src/sobench to `code`. function: the one it is in, "" for none."""

    name: str
    file: str
    function: str
    rule: str
    line: int
    start: int
    end: int
    code: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()[:16]

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.code.encode() + source[self.end :]


def mutants_of(file: Path) -> list[Mutant]:
    """All mutants of a source file, by the order of their lines."""
    source, relative = file.read_bytes(), file.relative_to(ROOT / "src/sobench").as_posix()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    mutants, names = [], Counter[str]()
    for node, inside in _code(ast.parse(source), ""):
        for rule in RULES:
            for changed in rule(node):
                before, after = (ast.unparse(ast.fix_missing_locations(part)) for part in (node, changed))
                if isinstance(node, (ast.If, ast.While)):
                    before, after = ast.unparse(node.test), ast.unparse(changed.test)  # type: ignore[attr-defined]
                name = f"{relative}::{inside or 'module'}: {before} -> {after}"
                names[name] += 1
                if before == after:
                    continue
                place: Any = node.test if isinstance(node, (ast.If, ast.While)) else node
                mutants.append(
                    Mutant(
                        name if names[name] == 1 else f"{name} #{names[name]}",
                        relative,
                        inside,
                        rule.__name__,
                        place.lineno,
                        starts[place.lineno - 1] + place.col_offset,
                        starts[place.end_lineno - 1] + place.end_col_offset,
                        after if isinstance(place, ast.stmt) else f"({after})",
                    )
                )
    return mutants


def _code(node: ast.AST, inside: str, prefix: str = "") -> Iterator[tuple[ast.AST, str]]:
    """The nodes that compute, each with the function that it is in. Types, messages and decorators are left out."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        name = prefix + node.name
        inside, prefix = (name, f"{name}.<locals>.") if isinstance(node, ast.FunctionDef) else (inside, f"{name}.")
    skipped = (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.Assert)
    if isinstance(node, skipped) or (isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING"):
        return
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
        yield node, inside
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _code(child, inside, prefix)


def choose(count: int, seed: int) -> list[Mutant]:
    """`count` mutants without the equivalent ones: in each round one of every file per started hundred lines.

    Within a file the rules take turns, and a hash of seed and name decides the order. Says which equivalent ones the
    source no longer has.
    """
    files = [
        path for part in TESTS for path in [ROOT / "src/sobench" / part, *(ROOT / "src/sobench" / part).rglob("*")]
    ]
    queues, gone = [], set(EQUIVALENT)
    for file in sorted({file for file in files if file.suffix == ".py"}):
        ranked = sorted((hashlib.sha256(f"{seed} {m.name}".encode()).digest(), m) for m in mutants_of(file))
        gone -= {mutant.name for _, mutant in ranked}
        turns = Counter[str]()
        order = []
        for place, (code, mutant) in enumerate(ranked):
            if mutant.rule != "arguments" or code[0] % 3 == 0:  # most swapped arguments end in an error at once
                turns[mutant.rule] += 1
                order.append((turns[mutant.rule], place, mutant))
        left = [mutant for _, _, mutant in sorted(order, key=lambda entry: entry[:2]) if mutant.name not in EQUIVALENT]
        queues.append((1 + file.read_bytes().count(b"\n") // 100, left))
    for name in sorted(gone):
        print(f"EQUIVALENT: not in the source: {name}", file=sys.stderr)
    chosen: list[Mutant] = []
    while any(queue for _, queue in queues):
        for share, queue in queues:
            chosen += queue[:share]
            del queue[:share]
        if len(chosen) >= count:
            break
    return chosen[:count]


# Tests


class Watcher:
    """A plug-in of pytest: runs the wanted tests in their order, limits their time, records failures and calls."""

    def __init__(self, wanted: dict[str, float] | None = None, package: str = ""):
        self.wanted, self.package = wanted, package
        self.failed: tuple[str, str] | None = None
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, list[str]] = defaultdict(list)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.wanted is not None:
            order = {name: place for place, name in enumerate(self.wanted)}
            items[:] = sorted((i for i in items if i.nodeid in order), key=lambda item: order[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        limit_time((self.wanted or {}).get(item.nodeid, 60.0))
        seen: dict[int, Any] = {}
        if self.wanted is None:
            sys.setprofile(lambda frame, event, _: seen.setdefault(id(frame.f_code), frame.f_code))
        begin = time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - begin
            if self.wanted is None:
                sys.setprofile(None)
            for code in seen.values():
                if code.co_filename.startswith(self.package):
                    file = Path(code.co_filename).relative_to(self.package).as_posix()
                    self.calls[f"{file}::{code.co_qualname}"].append(item.nodeid)

    def pytest_exception_interact(self, node: Any, call: pytest.CallInfo) -> None:
        assert call.excinfo is not None
        asserted = issubclass(call.excinfo.type, (AssertionError, pytest.fail.Exception))
        self.failed = self.failed or (node.nodeid, "assertion" if asserted else "error")


def limit_time(seconds: float) -> None:
    """End this process by a signal if what follows takes much longer than `seconds`, of a CPU or of the clock."""
    signal.setitimer(signal.ITIMER_PROF, 10 + 10 * seconds)
    signal.setitimer(signal.ITIMER_REAL, 60 + 60 * seconds)


class Workspace:
    """A copy of the source tree in a temporary folder, and processes that run tests on it."""

    def __init__(self, folder: Path):
        self.folder, self.package = folder, folder / "src/sobench"
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "conf").symlink_to(ROOT / "conf")
        (folder / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
        compileall.compile_dir(folder / "src", quiet=2)

    def run(self, files: Iterable[str], wanted: dict[str, float] | None = None) -> dict[str, Any]:
        """The result of the tests in a forked process: failed, seconds and calls as in Watcher, or {"signal": n}."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            try:
                result = self._test(sorted(set(files)), wanted)
                with os.fdopen(write, "w") as pipe:
                    json.dump(result, pipe)
            except BaseException:
                traceback.print_exc(file=sys.__stderr__)
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            answer = pipe.read()
        _, status = os.waitpid(child, 0)
        if not answer and status == 0:
            sys.exit(f"the tests could not start: {(self.folder / 'output').read_text()}")
        return json.loads(answer) if answer else {"signal": os.WTERMSIG(status)}

    def _test(self, files: list[str], wanted: dict[str, float] | None) -> dict[str, Any]:
        output = os.open(self.folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(ROOT)
        sys.path.insert(0, str(self.folder / "src"))
        sys.dont_write_bytecode = wanted is not None
        os.environ["PYTHONPATH"] = str(self.folder / "src")
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(self.folder / "hypothesis")
        watcher = Watcher(wanted, str(self.package))
        limit_time(20.0)
        options = ["-q", "-x", "-p", "no:cacheprovider", "--tb=short", f"--basetemp={self.folder / 'tmp'}"]
        warm = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is imported already
        code = pytest.main([*options, *warm, *files], plugins=[watcher])
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) and watcher.failed is None:
            watcher.failed = (f"pytest: {code!r}", "error")
        return {"failed": watcher.failed, "seconds": watcher.seconds, "calls": watcher.calls}

    def try_mutant(self, mutant: Mutant, stages: list[dict[str, float]]) -> tuple[str, str]:
        """The outcome of a mutant, and the test that caught it."""
        original = ROOT / "src/sobench" / mutant.file
        changed = self.package / mutant.file
        code = mutant.applied(changed.read_bytes())
        ast.parse(code)
        changed.write_bytes(code)
        try:
            for wanted in stages:
                result = self.run((name.partition("::")[0] for name in wanted), wanted)
                if "signal" in result:
                    late = result["signal"] in (signal.SIGPROF, signal.SIGALRM)
                    return ("time", "") if late else ("error", f"signal {result['signal']}")
                if result["failed"]:
                    return result["failed"][1], result["failed"][0]
        finally:
            shutil.copy2(original, changed)  # with its time of change, so that its compiled file is used
        return "survived", ""


def call_map(workspace: Workspace, cache: Path) -> dict[str, dict[str, Any]]:
    """{test file: its digest, the seconds of each test, and the tests that call each function}.

    Kept in `cache`; a test file that has changed is run again. Exits if a test fails.
    """
    known = json.loads(cache.read_text()) if cache.exists() else {}
    folders = {place for places in TESTS.values() for place in places}
    files = [
        f for place in folders for f in ([ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py"))
    ]
    result = {}
    for file in sorted(files):
        name, digest = file.relative_to(ROOT).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()
        entry = known.get(name, {})
        if entry.get("digest") != digest:
            print(f"{name}: which functions do its tests call?", flush=True)
            entry = {"digest": digest, **workspace.run([name])}
            if entry.get("failed") or "signal" in entry:
                sys.exit(f"{name} fails on the right code: {entry.get('failed') or entry['signal']}")
            cache.write_text(json.dumps(known := known | {name: entry}))
        result[name] = entry
    return result


def stages(mutant: Mutant, calls: dict[str, dict[str, Any]], first: int = 2) -> list[dict[str, float]]:
    """The tests that call the mutant's function, with their seconds: the `first` files of tests, then all others.

    Files come in the order of how much of the mutant's module they call, and of how little else.
    """
    places = next(tests for part, tests in TESTS.items() if mutant.file.startswith(part))
    ranked = []
    for name, entry in calls.items():
        if name.startswith(places):
            own = sum(key.startswith(f"{mutant.file}::") for key in entry["calls"])
            names = entry["calls"].get(f"{mutant.file}::{mutant.function}", []) if mutant.function else entry["seconds"]
            if own and names:
                ranked.append((-own, len(entry["calls"]), {test: entry["seconds"][test] for test in names}))
    ranked.sort(key=lambda entry: entry[:2])
    parts = [ranked[:first], ranked[first:]]
    merged = [{test: seconds for *_, tests in part for test, seconds in tests.items()} for part in parts]
    return [dict(sorted(tests.items(), key=lambda item: item[1])) for tests in merged if tests]


# The command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help=f"how many mistakes (default {COUNT})")
    parser.add_argument("--seed", type=int, default=SEED, help="which mistakes")
    parser.add_argument("--only", metavar="PATTERN", help="only the chosen mistakes whose name matches")
    parser.add_argument("--survivors", action="store_true", help="only those that survived; they are tried again")
    parser.add_argument("--list", action="store_true", help="print the chosen mistakes and their outcomes so far")
    parser.add_argument("--results", type=Path, default=ROOT / "runs/mutants.jsonl", help="the file of outcomes")
    words = parser.parse_args()

    rows = [json.loads(line) for line in words.results.read_text().splitlines()] if words.results.exists() else []
    outcomes: dict[str, str] = {row["digest"]: row["outcome"] for row in rows}
    chosen = choose(words.count, words.seed)
    if words.only:
        chosen = [m for m in chosen if fnmatch.fnmatchcase(m.name, f"*{words.only}*")]
    if words.survivors:
        chosen = [m for m in chosen if outcomes.get(m.digest) == "survived"]
    if words.list:
        for m in chosen:
            print(f"{outcomes.get(m.digest, '-'):10} {m.rule:10} {m.file}:{m.line} {m.name.partition('::')[2]}")
        return
    due = [m for m in chosen if words.survivors or m.digest not in outcomes]
    words.results.parent.mkdir(parents=True, exist_ok=True)
    if due:
        test(due, words.results, outcomes)
    report(chosen, outcomes)


def test(mutants: list[Mutant], results: Path, outcomes: dict[str, str]) -> None:
    """Try each mutant, and append its outcome to `results`."""
    os.nice(10)
    for module in WARM:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        workspace = Workspace(Path(folder))
        calls = call_map(workspace, results.with_suffix(".calls.json"))
        for number, mutant in enumerate(mutants, 1):
            begin = time.perf_counter()
            outcome, by = workspace.try_mutant(mutant, stages(mutant, calls))
            outcomes[mutant.digest] = outcome
            row = {"digest": mutant.digest, "outcome": outcome, "rule": mutant.rule, "mutant": mutant.name, "by": by}
            with results.open("a") as file:
                file.write(json.dumps(row | {"seconds": round(time.perf_counter() - begin, 1)}) + "\n")
            print(f"{number}/{len(mutants)} {outcome:10} {mutant.name}", flush=True)


def report(mutants: list[Mutant], outcomes: dict[str, str]) -> None:
    """Print how many mutants had each outcome, and the survivors."""
    counts = Counter(outcomes[m.digest] for m in mutants)
    caught = len(mutants) - counts["survived"]
    for m in mutants:
        if outcomes[m.digest] == "survived":
            print(f"survived   {m.file}:{m.line} {m.name.partition('::')[2]}")
    print(f"{len(mutants)} planted, {caught} caught ({caught / max(len(mutants), 1):.1%}): {dict(counts)}")


if __name__ == "__main__":
    main()
