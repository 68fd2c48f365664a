"""The contract of an optimizer, built-in, torch's or a plug-in's, as the checks of `sobench check NAME`.

CHECKS has the checks in order. Each takes a `Subject`, which is one optimizer on a small problem in float64 (the
digits, a tanh network), and raises `Broken` with the reason. The project's tests run them over all entry points.

A check that cannot tell a fault from a property of its problems raises `NotSeen`: that is not held against the
optimizer. The file has five parts: the subject, the checks, the use of oracles, the search for a hyperparameter that is
not read, and the memory of the process.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import ctypes
import gc
import inspect
import io
import itertools
import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from sobench.config import groups, registry
from sobench.config.grid import expand
from sobench.config.rules import COMMON
from sobench.config.run import Run
from sobench.config.signature import declared_rules
from sobench.objective.cost import Cost
from sobench.results.rundir import Metrics
from sobench.training import snapshot
from sobench.training.optimizer import has_modes
from sobench.training.requirements import MEMORY, ORACLES, requirements_of
from sobench.training.trainer import WITHOUT_LOSS, Trainer

# The subject

BASE = (
    "dataset=digits",
    "model=mlp",
    "model.widths=[4]",
    "model.activation=tanh",
    "dtype=float64",
    "batch_size=32",
    "budget.steps=1000",
    "threads=1",
)
"""The problem, as overrides."""

CONVOLUTIONS = (
    "dataset=noise",
    "dataset.shape=[2,32,32]",
    "model=vgg",
    "model.depth=11",
    "model.width=1",
    "model.batch_norm=false",
    "model.activation=tanh",
    "dtype=float64",
    "batch_size=16",
    "budget.steps=1000",
    "threads=1",
)
"""The second problem, for hyperparameters that have no effect on the first one."""

STEPS = 12
"""Within so many steps a hyperparameter has an effect, and every oracle of `requires` is used, as a rule."""

FEW = 4
"""Steps on the second problem."""

LONG = 110
"""Steps for a second look at what a method does not do in STEPS: more than the usual periods and warm-ups."""

ROUNDING = 1e-9
"""The relative difference that rounding errors may make in float64."""


class Broken(AssertionError):
    """The optimizer breaks its contract; the text says how."""


class NotSeen(Exception):
    """What the check looks for was not seen on its problems, and may be there; the text says what."""


class Subject:
    """One optimizer on the problem of BASE; every trainer starts from the initial point.

    settings: further overrides, for a hyperparameter without default or another problem. problem: the overrides of the
    problem; those of a data set or model are left out if the settings choose another one.
    """

    def __init__(self, name: str, settings: tuple[str, ...] = (), problem: tuple[str, ...] = BASE):
        self.name, self._settings = name, settings
        chosen = {setting.partition("=")[0] for setting in settings} & {"dataset", "model"}
        kept = [setting for setting in problem if re.split(r"[.=]", setting)[0] not in chosen]
        self.run: Run = expand([*kept, f"optimizer={name}", *settings])[0]
        self.hyperparameters = {k: v for k, v in groups.own(self.run.config["optimizer"]).items() if k != "name"}
        self.requires = requirements_of(registry.load("optimizers", name))

    def trainer(self, seed: int = 0, **hyperparameters: Any) -> Trainer:
        """A new trainer of this seed, with these hyperparameters changed."""
        config: dict[str, Any] = {**copy.deepcopy(self.run.config), "seed": seed}
        config["optimizer"].update(hyperparameters)
        return Trainer(Run.of(config))

    @cached_property
    def with_convolutions(self) -> Subject:
        """The same optimizer on the problem of CONVOLUTIONS."""
        return Subject(self.name, tuple(s for s in self._settings if s.startswith("optimizer.")), CONVOLUTIONS)


def advance(trainer: Trainer, steps: int, cost: Cost | None = None) -> list[float]:
    """Train for so many more steps. Returns their losses. cost: a meter for these steps in place of the problem's.

    Raises Broken for a step that returns no loss.
    """
    losses: list[float] = []
    for step, f in itertools.islice(trainer.problem.objectives(after=trainer.step), steps):
        f.cost = f.cost if cost is None else cost
        loss: Tensor | float | None = trainer.optimizer.step(f)
        if loss is None:
            raise Broken(WITHOUT_LOSS)
        losses.append(float(loss))
        trainer.step = step
    return losses


def theta(trainer: Trainer) -> Tensor:
    """A copy of the parameters, [P]."""
    return torch.cat([p.detach().flatten() for p in trainer.problem.model.parameters()])


def same_bits(a: Tensor | list[float], b: Tensor | list[float]) -> bool:
    """Equality bit for bit, NaN included."""
    one, two = (x if isinstance(x, Tensor) else torch.tensor(x, dtype=torch.double) for x in (a, b))
    return torch.equal(one.view(torch.uint8), two.view(torch.uint8))


# The checks; the first line of a docstring is what `sobench check` prints


def check_same_seed_same_bits(subject: Subject) -> None:
    """One seed gives the same losses and parameters bit for bit, and another seed gives different losses."""
    one, two, other = subject.trainer(0), subject.trainer(0), subject.trainer(1)
    losses = [advance(trainer, 5) for trainer in (one, two, other)]
    if not same_bits(losses[0], losses[1]) or not same_bits(theta(one), theta(two)):
        raise Broken("two runs of one seed differ within 5 steps")
    if same_bits(losses[0], losses[2]):
        raise Broken("two seeds give the same losses")


def check_moves(subject: Subject) -> None:
    """step(f) returns the loss before the step, and the steps change the parameters."""
    trainer = subject.trainer()
    before = theta(trainer)
    for step, f in itertools.islice(trainer.problem.objectives(), LONG):
        expected = float(f.loss())
        loss = trainer.optimizer.step(f)
        trainer.step = step
        if loss is None or not (math.isclose(float(loss), expected, rel_tol=ROUNDING) or math.isnan(expected)):
            raise Broken(f"step {step} returned {loss}, the loss before the step is {expected}")
        if step >= 3 and not torch.equal(before, theta(trainer)):  # the first step may only initialise
            return
    raise Broken(f"{LONG} steps leave the parameters where they were")


def check_resume(subject: Subject) -> None:
    """Three steps, a checkpoint through torch.save, and three more steps equal six steps, bit for bit."""
    straight, first, second = subject.trainer(), subject.trainer(), subject.trainer()
    expected = advance(straight, 6)
    losses = advance(first, 3)
    snapshot.restore(second, _through_disk(snapshot.state(first)))
    losses += advance(second, 3)
    if not same_bits(losses, expected) or not same_bits(theta(second), theta(straight)):
        raise Broken("a resumed run differs from an uninterrupted one: keep state in self.state or self.global_state")


def check_state_dict(subject: Subject) -> None:
    """state_dict, load_state_dict, state_dict gives the same tensors with the same dtypes."""
    trainer, other = subject.trainer(), subject.trainer()
    advance(trainer, 3)
    saved = _through_disk(trainer.optimizer.state_dict())
    other.optimizer.load_state_dict(copy.deepcopy(saved))
    before, after = dict(_leaves(saved)), dict(_leaves(other.optimizer.state_dict()))
    for path in before | after:
        if path not in before or path not in after or not _equal(before[path], after[path]):
            raise Broken(f"state {path} comes back changed")


def check_modes(subject: Subject) -> None:
    """train() and eval() come together, and an evaluation changes neither the parameters nor the steps after it."""
    trainer, straight = subject.trainer(), subject.trainer()  # a trainer refuses one method of two
    optimizer = trainer.optimizer
    if not has_modes(optimizer):
        return
    advance(trainer, 3)
    expected = advance(straight, 6)[3:]
    with trainer.evaluation_mode():
        loss = trainer.problem.evaluate()["train_loss"]
    if not math.isfinite(loss) and theta(trainer).isfinite().all():
        raise Broken(f"after 3 steps the training loss in evaluation mode is {loss}")
    if not same_bits(advance(trainer, 3), expected) or not same_bits(theta(trainer), theta(straight)):
        raise Broken("the steps after an evaluation differ from those without one: eval() or train() changes the state")
    with torch.no_grad():
        optimizer.eval()
        optimizer.train()
    moved = (theta(trainer) - theta(straight)).norm() / theta(straight).norm()
    if moved > ROUNDING or moved.isnan() and theta(straight).isfinite().all():
        raise Broken(f"train() after eval() does not return to the same parameters: they differ by {moved:.0e}")


LEAK = 48 * 1024
"""Bytes that the process may grow by in a step; a retained graph of the problem holds several times that."""


def check_memory(subject: Subject, steps: int = 60) -> None:
    """The memory of the process does not grow from step to step: no graph is retained.

    Two sizes are measured: what the C allocator has handed out, which holds every tensor and node, and what is
    resident, which holds all else, but which the system may shrink meanwhile. The one that grew more counts. A growth
    is measured again over four times the steps: a buffer that is made once, or a heap with holes, grows by the same
    however long the measurement is; a leak grows with the steps. So is a fall, of memory that the process had from
    before and gives back: it would hide a leak.
    """
    with _collecting_new_objects():
        trainer = subject.trainer()
        trainer.problem.batch_size = min(256, trainer.problem.samples)
        early = held_bytes(trainer, after=20)
        for length in (steps, 4 * steps):
            late = held_bytes(trainer, after=length)
            grown = max(  # every size goes up and down by itself
                min(now) - max(before) for now, before in zip(late, early, strict=True)
            )
            if abs(grown) <= length * LEAK:
                return
            early = late
    if grown > 0:
        raise Broken(f"the process held {grown / 2**20:.0f} MiB more after {length} more steps")


def check_hyperparameters(subject: Subject) -> None:
    """Every hyperparameter is read: a change of it changes the parameters."""
    search = Search(subject)
    without_effect = [name for name in subject.hyperparameters if not search.has_effect(name)]
    untried = [name for name in without_effect if name not in search.tried]
    tried = [name for name in without_effect if name in search.tried]
    unread = [name for name in tried if name in COMMON or not may_be_read(subject, name)]
    unseen = [name for name in tried if name not in unread]
    if unread:
        raise Broken(f"changing {', '.join(unread)} changes nothing")
    reasons = [f"changing {', '.join(unseen)} changes nothing: not seen on these problems"] if unseen else []
    if untried:
        reasons.append(
            f"there is no second value to try for {', '.join(untried)}: declare the values in `rules` of the class, as "
            "rules = {name: choice('a', 'b')}"
        )
    if reasons:
        raise NotSeen("; ".join(reasons))


def check_requires(subject: Subject) -> None:
    """`requires` names exactly the oracles that are used; a class without it uses the closure alone."""
    if unknown := subject.requires - ORACLES:
        raise Broken(f"requires {', '.join(sorted(unknown))}, allowed: {', '.join(sorted(ORACLES))}")
    declared, usage = subject.requires - MEMORY, Usage()
    trainer = subject.trainer()
    usage.watch(trainer, STEPS)
    many_products = usage.products >= STEPS * usage.size
    if usage.lacks(declared):
        usage.watch(trainer, LONG - STEPS)
    for name, value in ((k, v) for k in subject.hyperparameters for v in other_values(subject, k)):
        if not usage.lacks(declared):
            break
        with contextlib.suppress(Exception):  # the optimizer refuses the value
            usage.watch(subject.trainer(**{name: value}), STEPS)
    if usage.lacks(declared) or not usage.oracles <= declared:
        raise Broken(f"requires {sorted(declared)}, used {sorted(usage.oracles)}")
    if many_products and "dense" not in declared:
        raise NotSeen(
            "a step makes as many curvature products as there are parameters: if it forms a P x P matrix, "
            "`requires` lacks 'dense'"
        )


def check_oracles_leave_no_trace(subject: Subject) -> None:
    """A step changes neither torch's global random state nor the batches that follow."""
    trainer, bare = subject.trainer(), subject.trainer()
    torch.rand(1)  # a trainer seeds the generator; now a step that seeds it anew shows
    random = torch.get_rng_state()
    advance(trainer, 3)
    if not torch.equal(random, torch.get_rng_state()):
        raise Broken("a step draws from torch's global random state: use f.generator('probe')")
    (_, f), (_, g) = next(trainer.problem.objectives(after=3)), next(bare.problem.objectives(after=3))
    if not torch.equal(f.batch.inputs, g.batch.inputs):
        raise Broken("the optimizer changes which batches come next")


def check_divergence(subject: Subject) -> None:
    """A loss of NaN ends the run as diverged."""
    trainer = subject.trainer()
    advance(trainer, 2)
    with torch.no_grad():
        next(iter(trainer.problem.model.parameters())).fill_(float("nan"))
    reason = trainer.train(cast(Metrics, _NoRecord()), lambda _: None, lambda *_: None)
    if reason is None or "nan" not in reason:
        raise Broken(f"parameters of NaN did not end the run as diverged; the reason given was {reason!r}")


CHECKS: dict[str, Callable[[Subject], None]] = {
    "same_seed_same_bits": check_same_seed_same_bits,
    "moves": check_moves,
    "resume": check_resume,
    "state_dict": check_state_dict,
    "modes": check_modes,
    "memory": check_memory,
    "hyperparameters": check_hyperparameters,
    "requires": check_requires,
    "oracles_leave_no_trace": check_oracles_leave_no_trace,
    "divergence": check_divergence,
}
"""Every check by its name, in the order in which `sobench check` makes them."""


class _NoRecord:
    """A record that drops its rows."""

    def append(self, row: dict[str, Any]) -> None:
        pass


def _through_disk(state: dict[str, Any]) -> dict[str, Any]:
    """The state as a checkpoint returns it: torch.save, then torch.load with weights_only."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def _equal(a: Any, b: Any) -> bool:
    """Whether two entries of a state are the same, NaN included."""
    if not isinstance(a, (Tensor, float)):
        return a == b
    try:
        torch.testing.assert_close(b, a, rtol=0, atol=0, equal_nan=True)
    except (AssertionError, TypeError):
        return False
    return True


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every entry of nested dicts, lists and tuples."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{path}/{key}")
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from _leaves(value, f"{path}/{i}")
    else:
        yield path, node


# The use of oracles


class Usage:
    """What steps ask of the objective.

    oracles: the names of the oracles, and `dense` if a step forms a P x P matrix. products: the curvature products with
    one vector. size: P.
    """

    def __init__(self) -> None:
        self.oracles: set[str] = set()
        self.products, self.size = 0, 0

    def watch(self, trainer: Trainer, steps: int) -> None:
        """Train for so many more steps."""
        self.size = theta(trainer).numel()
        for _ in range(steps):
            meter = _Meter()
            advance(trainer, 1, meter)
            self.oracles |= meter.used | ({"dense"} if meter.block_products >= self.size - 1 else set())
            self.products += meter.products - meter.block_products

    def lacks(self, declared: frozenset[str]) -> bool:
        """Whether an oracle was not used. P products with one vector may have formed a matrix column by column."""
        return bool(declared - self.oracles - ({"dense"} if self.products >= self.size else set()))


class _Meter(Cost):
    """A meter that counts the products with several vectors at once, as a matrix is formed, also on their own."""

    block_products = 0

    def product(self, samples: int, columns: int = 1) -> None:
        super().product(samples, columns)
        self.block_products += columns if columns > 1 else 0


# Hyperparameters that are not read


class Search:
    """The search for an effect of hyperparameters on the parameters, step by step.

    tried: the hyperparameters that were given another value which the optimizer accepts. Raises what the optimizer
    raises with the values of the subject.
    """

    def __init__(self, subject: Subject):
        self._subject = subject
        self._references = {self._key(subject, {}, STEPS): list(_trajectory(subject, {}, STEPS))}
        self.tried: set[str] = set()

    def has_effect(self, name: str) -> bool:
        """Whether some change of `name` changes some trajectory.

        Tried are the first problem and, if it may be read at all, that with convolutions, with the other
        hyperparameters as they are; then both with one of these changed, and many steps of the first one.
        """
        return any(self._differs(name, *look) for look in self._looks(name))

    def _looks(self, name: str) -> Iterator[tuple[Subject, int, list[dict[str, Any]]]]:
        """(subject, steps, changes of the other hyperparameters to begin with), the cheapest first."""
        settings = self._subject.hyperparameters
        others = sorted((k for k in settings if k != name), key=lambda k: _rank(settings[k]))
        changes = [[{k: v} for v in other_values(self._subject, k)] for k in others]
        yield self._subject, STEPS, [{}]
        is_read = may_be_read(self._subject, name)
        has_layers = is_read and "dense" not in self._subject.requires  # slow there, and blind to layers
        if has_layers:
            yield self._subject.with_convolutions, FEW, [{}]
        yield self._subject, STEPS, list(itertools.chain(*changes))
        if is_read:
            yield self._subject, LONG, [{}]
        if has_layers:
            yield self._subject.with_convolutions, FEW, list(itertools.chain(*(few[:1] for few in changes)))

    def _differs(self, name: str, subject: Subject, steps: int, contexts: list[dict[str, Any]]) -> bool:
        """Whether a change of `name` changes one of these trajectories."""
        # a context decides more often than a value: each is tried with one value before the next
        for value, context in itertools.product(list(other_values(subject, name)), contexts):
            reference = self._reference(subject, context, steps)
            if len(reference) < steps:
                continue
            count = 0
            for bits, expected in zip(_tolerant(subject, context | {name: value}, steps), reference):
                if bits != expected:
                    return True
                count += 1
            if count == steps:
                self.tried.add(name)
        return False

    def _reference(self, subject: Subject, context: dict[str, Any], steps: int) -> list[bytes]:
        """The trajectory to compare with; it is kept."""
        key = self._key(subject, context, steps)
        if key not in self._references:
            self._references[key] = list(_tolerant(subject, context, steps))
        return self._references[key]

    @staticmethod
    def _key(subject: Subject, context: dict[str, Any], steps: int) -> str:
        return f"{subject.run.config['dataset']['name']} {context} {steps}"


def _trajectory(subject: Subject, hyperparameters: dict[str, Any], steps: int) -> Iterator[bytes]:
    """The bits of the parameters after each step: those of the next step, and those of an evaluation."""
    trainer = subject.trainer(**hyperparameters)
    for _ in range(steps):
        advance(trainer, 1)
        bits = theta(trainer).numpy().tobytes()
        if has_modes(trainer.optimizer):
            with trainer.evaluation_mode():
                bits += theta(trainer).numpy().tobytes()
        yield bits


def _tolerant(subject: Subject, hyperparameters: dict[str, Any], steps: int) -> Iterator[bytes]:
    """The trajectory up to the step at which the optimizer raises an exception, as it may with these values."""
    with contextlib.suppress(Exception):
        yield from _trajectory(subject, hyperparameters, steps)


def may_be_read(subject: Subject, name: str) -> bool:
    """Whether a step may read a hyperparameter: it looks it up in the parameter group, the hyperparameter is not kept
    there alone, or the code names it outside of the constructor, for a branch that is not taken."""
    trainer = subject.trainer()
    optimizer = cast(torch.optim.Optimizer, trainer.optimizer)
    optimizer.param_groups[:] = watched = [_Group(group) for group in optimizer.param_groups]
    advance(trainer, STEPS)
    looked_up = any(name not in group or name in group.read for group in watched)
    return looked_up or name in vars(optimizer) or name in _names_in_code(type(optimizer))


def _names_in_code(cls: type) -> set[str]:
    """The words in the code of a class and its bases, and in the functions of their modules: attributes, variables and
    strings, without those of constructors."""
    classes = [c for c in cls.__mro__ if issubclass(c, torch.optim.Optimizer) and c is not torch.optim.Optimizer]
    nodes: list[ast.AST] = []
    for module in {c.__module__ for c in classes}:
        with contextlib.suppress(OSError, TypeError):  # without source
            body = ast.parse(inspect.getsource(sys.modules[module])).body
            named = {c.__name__ for c in classes}
            nodes += [
                n for n in body if isinstance(n, ast.FunctionDef) or isinstance(n, ast.ClassDef) and n.name in named
            ]
    words: set[str] = set()
    while nodes:
        node = nodes.pop()
        match node:
            case ast.FunctionDef(name="__init__"):
                continue
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.Constant(value=str(word)):
                words.add(word)
        nodes += ast.iter_child_nodes(node)
    return words


class _Group(dict[str, Any]):
    """A parameter group that notes which of its entries are read before the optimizer overwrites them."""

    def __init__(self, group: dict[str, Any]):
        super().__init__(group)
        self.read: set[str] = set()
        self._written: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        if key not in self._written:
            self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key] if key in self else default  # noqa: SIM401  # this is that method

    def __setitem__(self, key: str, value: Any) -> None:
        self._written.add(key)
        super().__setitem__(key, value)

    def __iter__(self) -> Iterator[str]:  # so that {**group} calls __getitem__
        return super().__iter__()


def _rank(value: Any) -> int:
    """The order in which the other hyperparameters are changed: switches and zeros, then words, then amounts."""
    if isinstance(value, bool) or value == 0:
        return 0
    return 2 if isinstance(value, (int, float)) else 1


def other_values(subject: Subject, name: str) -> Iterator[Any]:
    """Values of a hyperparameter other than its own, near ones first."""
    value = subject.hyperparameters[name]
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (v for v in (value + 1, max(1, value // 2), 1, 2 * value, value + 10) if v != value)
    elif isinstance(value, float):
        yield from (v for v in (1.5 * value, 0.5 * value, 0.5, 1e-3 * value, 1e3 * value, 10.0) if v != value)
    elif isinstance(value, list) and any(isinstance(v, (int, float)) for v in value):
        yield [0.9 * v if isinstance(v, float) else v + 1 if isinstance(v, int) else v for v in value]
    elif isinstance(value, str) or value is None:
        yield from (v for v in _allowed(subject, name) if v != value)


def _allowed(subject: Subject, name: str) -> list[Any]:
    """Values that the rule of a hyperparameter allows: its choices, and a few numbers. None without a rule: numbers."""
    rule = declared_rules("optimizer", subject.name).get(name) or COMMON.get(name)
    if rule is None:
        return [1, 2, 0.5] if subject.hyperparameters[name] is None else []
    return [value for value in (*rule.choices, 1, 2, 0.5) if rule.accepts(value)]


# Memory of the process


def held_bytes(trainer: Trainer, after: int) -> list[list[int]]:
    """The sizes of the process in bytes, each at four moments, 3 steps apart, `after` steps from now."""
    advance(trainer, after)
    moments: list[list[int]] = []
    for _ in range(4):
        advance(trainer, 3)
        gc.collect()
        _trim()
        moments.append([size for size in (_allocated(), _resident()) if size is not None])
    return [list(size) for size in zip(*moments, strict=True)]


@contextlib.contextmanager
def _collecting_new_objects() -> Iterator[None]:
    """Exempt the objects that exist now from garbage collection: a collection takes a millisecond instead of 0.2 s."""
    gc.collect()
    frozen = gc.get_freeze_count()
    gc.freeze()
    try:
        yield
    finally:
        if not frozen:  # unfreeze would undo what other code has frozen
            gc.unfreeze()


def _trim() -> None:
    """Return the free memory of the C allocator to the system, so that only memory in use is measured."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


class _MallInfo(ctypes.Structure):
    """The `struct mallinfo2` of the C library: mallinfo(3)."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def _allocated() -> int | None:
    """Bytes that the C allocator has handed out: in its arenas, and mapped one by one. None where it does not say."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):  # not glibc 2.33 or newer
        return None
    mallinfo2.restype = _MallInfo
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def _resident() -> int:
    """Bytes of memory of this process that are resident now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource  # not on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
