"""The contract of an optimizer, built-in, torch's or a plug-in's, and the suite behind `sobench check NAME`.

CHECKS has the checks in order. Each takes a `Subject`, which is one optimizer on a small real problem in float64 (the
digits, a tanh network), and raises `Broken` with the reason. The project's tests run them over all entry points.

The file has four parts: the subject, the checks, the search for a hyperparameter that is not read, and the memory of
the process.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from sobench.config.grid import expand
from sobench.config.rules import COMMON
from sobench.config.run import Run
from sobench.config.signature import optimizer_rules
from sobench.errors import SobenchError, Unsupported
from sobench.results.rundir import Metrics
from sobench.training import snapshot
from sobench.training.requirements import MEMORY
from sobench.training.trainer import Trainer

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

STEPS = 12
"""Within so many steps a hyperparameter must have an effect, and every oracle of `requires` must be used."""


class Broken(AssertionError):
    """The optimizer breaks its contract; the text says how."""


class Subject:
    """One optimizer on the problem of BASE; every trainer starts from the initial point.

    settings: further overrides, for a hyperparameter without default or another problem.
    """

    def __init__(self, name: str, settings: tuple[str, ...] = ()):
        self.name = name
        self.run: Run = expand([*BASE, f"optimizer={name}", *settings])[0]
        self.hyperparameters = {k: v for k, v in self.run.config["optimizer"].items() if k != "name"}

    def trainer(self, seed: int = 0, **hyperparameters: Any) -> Trainer:
        """A new trainer of this seed, with these hyperparameters changed."""
        config: dict[str, Any] = {**copy.deepcopy(self.run.config), "seed": seed}
        config["optimizer"].update(hyperparameters)
        return Trainer(Run.of(config))


def advance(trainer: Trainer, steps: int) -> list[float]:
    """Train for so many more steps. Returns their losses."""
    losses: list[float] = []
    for step, f in itertools.islice(trainer.problem.objectives(after=trainer.step), steps):
        losses.append(float(trainer.optimizer.step(f)))
        trainer.step = step
    return losses


def theta(trainer: Trainer) -> Tensor:
    """A copy of the parameters, [P]."""
    return torch.cat([p.detach().flatten() for p in trainer.problem.model.parameters()])


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equality of float64 tensors bit for bit, NaN included."""
    return torch.equal(a.view(torch.int64), b.view(torch.int64))


# The checks; the first line of a docstring is what `sobench check` prints


def check_same_seed_same_bits(subject: Subject) -> None:
    """One seed gives the same losses and parameters bit for bit, and another seed gives different losses."""
    one, two, other = subject.trainer(0), subject.trainer(0), subject.trainer(1)
    losses = [advance(trainer, 5) for trainer in (one, two, other)]
    if losses[0] != losses[1] or not same_bits(theta(one), theta(two)):
        raise Broken("two runs of one seed differ within 5 steps")
    if losses[0] == losses[2]:
        raise Broken("two seeds give the same losses")


def check_moves(subject: Subject) -> None:
    """step(f) returns the loss before the step, and changes the parameters."""
    trainer = subject.trainer()
    before = theta(trainer)
    _, f = next(trainer.problem.objectives())
    expected = float(f.loss())
    loss = trainer.optimizer.step(f)
    if loss is None or not abs(float(loss) - expected) <= 1e-9 * abs(expected):
        raise Broken(f"step(f) returned {loss}, the loss before the step is {expected}")
    if torch.equal(before, theta(trainer)):
        raise Broken("a step leaves the parameters where they were")


def check_resume(subject: Subject) -> None:
    """Three steps, a checkpoint through torch.save, and three more steps equal six steps, bit for bit."""
    straight, first, second = subject.trainer(), subject.trainer(), subject.trainer()
    expected = advance(straight, 6)
    losses = advance(first, 3)
    snapshot.restore(second, _through_disk(snapshot.state(first)))
    losses += advance(second, 3)
    if losses != expected or not same_bits(theta(second), theta(straight)):
        raise Broken("a resumed run differs from an uninterrupted one: keep state in self.state or self.global_state")


def check_state_dict(subject: Subject) -> None:
    """state_dict, load_state_dict, state_dict gives the same tensors with the same dtypes."""
    trainer, other = subject.trainer(), subject.trainer()
    advance(trainer, 3)
    saved = _through_disk(trainer.optimizer.state_dict())
    other.optimizer.load_state_dict(copy.deepcopy(saved))
    for (path, a), (_, b) in zip(_leaves(saved), _leaves(other.optimizer.state_dict()), strict=True):
        equal = a.dtype == b.dtype and torch.equal(a, b) if isinstance(a, Tensor) else a == b
        if not equal:
            raise Broken(f"state {path} comes back changed")


def check_memory(subject: Subject, steps: int = 60) -> None:
    """The memory of the process does not grow from step to step: no graph is retained."""
    trainer = subject.trainer()
    trainer.problem.batch_size = 256
    early = resident_bytes(trainer, after=20)
    late = resident_bytes(trainer, after=steps)
    grown = min(late) - max(early)  # an allocator goes up and down by itself; a leak goes up
    if grown > steps * 48 * 1024:  # a retained graph of this problem holds several times that a step
        raise Broken(f"the process held {grown / 2**20:.0f} MiB more after {steps} more steps")


def check_hyperparameters(subject: Subject) -> None:
    """Every hyperparameter is read: a change of it changes the parameters within 12 steps."""
    references: dict[str, list[bytes]] = {}  # trajectories that all hyperparameters are compared with
    unread = [name for name in subject.hyperparameters if not is_read(subject, name, references)]
    without_values = [name for name in unread if not list(other_values(subject, name))]
    if without_values:
        raise Broken(
            f"there is no second value to try for {', '.join(without_values)}: declare the values in `rules` of the "
            "class, as rules = {name: choice('a', 'b')}"
        )
    if unread:
        raise Broken(f"changing {', '.join(unread)} changes nothing")


def check_requires(subject: Subject) -> None:
    """`requires` names exactly the oracles that are used; a class without it uses the closure alone."""
    trainer = subject.trainer()
    advance(trainer, STEPS)
    declared = set(getattr(type(trainer.optimizer), "requires", {"closure"})) - MEMORY
    cost, size = trainer.problem.cost, theta(trainer).numel()
    used = cost.used | ({"dense"} if cost.products >= STEPS * size else set())
    if declared != used:
        raise Broken(f"requires {sorted(declared)}, used {sorted(used)}")


def check_oracles_leave_no_trace(subject: Subject) -> None:
    """A step changes neither torch's global random state nor the batches that follow."""
    trainer, bare = subject.trainer(), subject.trainer()
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
    "memory": check_memory,
    "hyperparameters": check_hyperparameters,
    "requires": check_requires,
    "oracles_leave_no_trace": check_oracles_leave_no_trace,
    "divergence": check_divergence,
}
"""Every check by its name, in the order in which `sobench check` makes them."""


def run_suite(name: str, settings: tuple[str, ...] = ()) -> int:
    """Make all checks of one optimizer and print a line for each. Returns the exit code: 1 if one is broken, else 0."""
    passed, skipped = 0, 0
    subject = Subject(name, settings)
    for title, check in CHECKS.items():
        about = (check.__doc__ or title).strip().splitlines()[0]
        try:
            check(subject)
            passed += 1
            print(f"ok      {about}")
        except Unsupported as error:
            skipped += 1
            print(f"skipped {about}\n        {error}")
        except Exception as error:  # an optimizer of a plug-in may raise anything: that is a result of the check
            kind = "" if isinstance(error, (Broken, SobenchError)) else f"{type(error).__name__}: "
            print(f"BROKEN  {about}\n        {kind}{error}")
    print(f"{name}: {passed} of {len(CHECKS)} checks passed" + (f", {skipped} skipped" if skipped else ""))
    return 0 if passed + skipped == len(CHECKS) else 1


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


# Hyperparameters that are not read


def is_read(subject: Subject, name: str, references: dict[str, list[bytes]]) -> bool:
    """Whether some change of `name` changes some trajectory: from the defaults, or with one other hyperparameter
    changed.

    references: the trajectories to compare with, which this function fills and reuses.
    """
    settings = subject.hyperparameters
    others = sorted((k for k in settings if k != name), key=lambda k: _rank(settings[k]))
    contexts = [{}] + [{k: v} for k in others for v in other_values(subject, k)]
    for context in contexts:
        if repr(context) not in references:
            references[repr(context)] = list(_trajectory(subject, context))
        reference = references[repr(context)]
        if len(reference) < STEPS:
            continue
        for value in other_values(subject, name):
            trajectory = _trajectory(subject, context | {name: value})
            if any(bits != expected for bits, expected in zip(trajectory, reference)):  # up to the first difference
                return True
    return False


def _trajectory(subject: Subject, hyperparameters: dict[str, Any]) -> Iterator[bytes]:
    """The bits of the parameters after each of STEPS steps; fewer if these hyperparameters are refused."""
    try:
        trainer = subject.trainer(**hyperparameters)
        for _ in range(STEPS):
            advance(trainer, 1)
            yield theta(trainer).numpy().tobytes()
    except (SobenchError, ValueError, TypeError, RuntimeError):
        return


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
        yield from (v for v in (value + 1, max(1, value // 2), 1, 2 * value) if v != value)
    elif isinstance(value, float):
        yield from (v for v in (1.5 * value, 0.5 * value, 0.5, 1e-3 * value, 1e3 * value, 10.0) if v != value)
    elif isinstance(value, list):
        yield [0.9 * v for v in value]
    elif isinstance(value, str) or value is None:
        yield from (v for v in _allowed(subject, name) if v != value)


def _allowed(subject: Subject, name: str) -> list[Any]:
    """Values that the rule of a hyperparameter allows: its choices, and a few numbers."""
    rule = optimizer_rules(subject.name).get(name) or COMMON.get(name)
    if rule is None:
        return []
    return [value for value in (*rule.choices, 1, 2, 0.5) if rule.accepts(value)]


# Memory of the process


def resident_bytes(trainer: Trainer, after: int) -> list[int]:
    """The memory of the process in bytes at four moments, 5 steps apart, `after` steps from now."""
    advance(trainer, after)
    moments: list[int] = []
    for _ in range(4):
        advance(trainer, 5)
        gc.collect()
        _trim()
        moments.append(_resident())
    return moments


def _trim() -> None:
    """Return the free memory of the C allocator to the system, so that only memory in use is measured."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _resident() -> int:
    """Bytes of memory that this process holds now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource  # not on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
