"""The contract that every optimizer keeps, ours, torch's or a user's: `sobench check NAME`.

Each check takes a Subject (one optimizer on a small real problem in float64: the digits, a tanh network) and raises Broken
with the reason. They run in the project's tests over all entry points.

One optimizer on a small real problem, which the checks of its contract look at.

Whether a hyperparameter of an optimizer is read: whether changing it changes a trajectory.

What this process holds in memory while an optimizer steps.
"""

from __future__ import annotations

import copy
import gc
import io
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sobench.config.grid import expand
from sobench.config.run import Run
from sobench.errors import SobenchError, Unsupported
from sobench.training import snapshot
from sobench.training.trainer import Trainer

# The checks


def check_same_seed_same_bits(subject: Subject) -> None:
    """The same seed gives the same losses and parameters, bit for bit; another seed gives others."""
    one, two, other = subject.trainer(0), subject.trainer(0), subject.trainer(1)
    losses = [advance(trainer, 5) for trainer in (one, two, other)]
    if losses[0] != losses[1] or not same_bits(theta(one), theta(two)):
        raise Broken("two runs of one seed differ")
    if losses[0] == losses[2]:
        raise Broken("two seeds give the same losses")


def check_moves(subject: Subject) -> None:
    """A step returns the finite loss before it, and moves the parameters."""
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
    """Three steps, a checkpoint through torch.save and weights_only, three steps: the bits of six steps."""
    straight, first, second = subject.trainer(), subject.trainer(), subject.trainer()
    expected = advance(straight, 6)
    losses = advance(first, 3)
    snapshot.restore(second, _through_disk(snapshot.state(first)))
    losses += advance(second, 3)
    if losses != expected or not same_bits(theta(second), theta(straight)):
        raise Broken("a resumed run differs from an undisturbed one")


def check_state_dict(subject: Subject) -> None:
    """state_dict -> load_state_dict -> state_dict gives the same tensors, dtypes included."""
    trainer, other = subject.trainer(), subject.trainer()
    advance(trainer, 3)
    saved = _through_disk(trainer.optimizer.state_dict())
    other.optimizer.load_state_dict(copy.deepcopy(saved))
    for (path, a), (_, b) in zip(_leaves(saved), _leaves(other.optimizer.state_dict()), strict=True):
        equal = a.dtype == b.dtype and torch.equal(a, b) if isinstance(a, Tensor) else a == b
        if not equal:
            raise Broken(f"state {path} comes back changed")


def check_memory(subject: Subject, steps: int = 60) -> None:
    """The memory of the process does not grow over 100 steps: no graph is retained."""
    trainer = subject.trainer()
    trainer.problem.batch_size = 256
    early = residents(trainer, after=20)
    late = residents(trainer, after=steps)
    grown = min(late) - max(early)  # an allocator goes up and down by itself; a leak goes up
    if grown > steps * 48 * 1024:  # a retained graph of this problem holds several times that a step
        raise Broken(f"{steps} steps took {grown / 2**20:.0f} MiB of memory and kept it")


def check_hyperparameters(subject: Subject) -> None:
    """Every hyperparameter, changed, changes the trajectory: none is printed in a log and read by nobody."""
    references: dict[str, list[bytes]] = {}  # trajectories that all hyperparameters are compared with
    unread = [name for name in subject.hyperparameters if not is_read(subject, name, references)]
    if unread:
        raise Broken(f"changing {', '.join(unread)} changes nothing")


def check_requires(subject: Subject) -> None:
    """`requires` names the oracles that were used, no fewer and no more; without it, the closure alone."""
    trainer = subject.trainer()
    advance(trainer, STEPS)
    declared = set(getattr(type(trainer.optimizer), "requires", {"closure"})) - {"dense_blocks"}  # memory, not work
    cost, size = trainer.problem.cost, theta(trainer).numel()
    used = cost.used | ({"dense"} if cost.products >= STEPS * size else set())
    if declared != used:
        raise Broken(f"requires {sorted(declared)}, used {sorted(used)}")


def check_oracles_leave_no_trace(subject: Subject) -> None:
    """Torch's global random state is left alone by a step, and so is the order of the batches to come."""
    trainer, bare = subject.trainer(), subject.trainer()
    random = torch.get_rng_state()
    advance(trainer, 3)
    if not torch.equal(random, torch.get_rng_state()):
        raise Broken("a step draws from torch's global random state: use f.generator('probe')")
    (_, f), (_, g) = next(trainer.problem.objectives(after=3)), next(bare.problem.objectives(after=3))
    if not torch.equal(f.batch.inputs, g.batch.inputs):
        raise Broken("the optimizer changes which batches come next")


def check_divergence(subject: Subject) -> None:
    """A loss that is not a number ends the run as diverged, with its step."""
    trainer = subject.trainer()
    advance(trainer, 2)
    with torch.no_grad():
        next(iter(trainer.problem.model.parameters())).fill_(float("nan"))
    reason = trainer.train(_Nowhere(), lambda _: None, lambda *_: None)
    if reason is None or "nan" not in reason:
        raise Broken(f"a loss of nan was recorded as {reason!r}")


def checks() -> dict[str, Callable[[Subject], None]]:
    """Every check of this file, by name, in order."""
    return {name.removeprefix("check_"): f for name, f in globals().items() if name.startswith("check_")}


def run_suite(name: str, settings: tuple[str, ...] = ()) -> int:
    """Run all checks on one optimizer, print a line each, and return the exit code."""
    failures = 0
    subject = Subject(name, settings)
    for title, check in checks().items():
        about = (check.__doc__ or title).strip().splitlines()[0]
        try:
            check(subject)
            print(f"ok      {about}")
        except Unsupported as error:
            print(f"skipped {about}\n        {error}")
        except Exception as error:  # a user's optimizer may raise anything: that is a finding
            failures += 1
            kind = "" if isinstance(error, (Broken, SobenchError)) else f"{type(error).__name__}: "
            print(f"BROKEN  {about}\n        {kind}{error}")
    print(f"{name}: {len(checks()) - failures} of {len(checks())} checks hold")
    return 1 if failures else 0


# Inside


class _Nowhere:
    """A record that keeps nothing."""

    def append(self, row: dict[str, Any]) -> None:
        pass


def _through_disk(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{path}/{key}")
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from _leaves(value, f"{path}/{i}")
    else:
        yield path, node


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
STEPS = 12
"""In which a hyperparameter has to show, and an oracle to be used."""


class Broken(AssertionError):
    """The optimizer breaks its contract; the text says how."""


class Subject:
    """One optimizer, made anew for every check. `settings` are overrides that a plug-in needs (a value without default)."""

    def __init__(self, name: str, settings: tuple[str, ...] = ()):
        self.name = name
        self.run: Run = expand([*BASE, f"optimizer={name}", *settings])[0]
        self.hyperparameters = {k: v for k, v in self.run.config["optimizer"].items() if k != "name"}

    def trainer(self, seed: int = 0, **hyperparameters: Any) -> Trainer:
        config = copy.deepcopy(self.run.config) | {"seed": seed}
        config["optimizer"].update(hyperparameters)
        return Trainer(Run.of(config))


def advance(trainer: Trainer, steps: int) -> list[float]:
    """Train that many steps more; the losses."""
    losses = []
    for trainer.step, f in itertools.islice(trainer.problem.objectives(after=trainer.step), steps):
        losses.append(float(trainer.optimizer.step(f)))
    return losses


def theta(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.problem.model.parameters()])


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.view(torch.int64), b.view(torch.int64))


def is_read(subject: Subject, name: str, references: dict[str, list[bytes]]) -> bool:
    """Whether some change of `name` changes some trajectory: from the defaults, or with another one changed too."""
    settings = subject.hyperparameters
    others = sorted((k for k in settings if k != name), key=lambda k: _rank(settings[k]))
    contexts = [{}] + [{k: v} for k in others for v in _changed(k, settings[k], subject)]
    for context in contexts:
        if repr(context) not in references:
            references[repr(context)] = list(_trajectory(subject, context))
        reference = references[repr(context)]
        if len(reference) < STEPS:
            continue
        for value in _changed(name, settings[name], subject):
            trajectory = _trajectory(subject, context | {name: value})
            if any(bits != expected for bits, expected in zip(trajectory, reference)):  # the first that differ will do
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
    """In which order settings are changed to have another one read: switches and zeros, words, amounts."""
    return 0 if isinstance(value, bool) or value == 0 else 2 if isinstance(value, (int, float)) else 1


def _changed(name: str, value: Any, subject: Subject) -> Iterator[Any]:
    """Other values of a hyperparameter, near ones first."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (v for v in (value + 1, max(1, value // 2), 1, 2 * value) if v != value)
    elif isinstance(value, float):
        yield from (v for v in (1.5 * value, 0.5 * value, 0.5, 1e-3 * value, 1e3 * value, 10.0) if v != value)
    elif isinstance(value, list):
        yield [0.9 * v for v in value]
    elif isinstance(value, str) or value is None:
        yield from (v for v in _words(name, subject) if v != value)


def _words(name: str, subject: Subject) -> list[Any]:
    """What a setting that is a word, or nothing, may be: from the rule of its name, or a note in its YAML file."""
    from sobench.config.rules import HYPERPARAMETERS

    rule = HYPERPARAMETERS.get(name)
    if rule is None:
        return []
    candidates: list[Any] = [word.strip() for word in rule.allowed.replace(" or ", ", ").split(",")] + [1, 2, 0.5]
    return [value for value in candidates if rule.accepts(value)]


def residents(trainer: Trainer, after: int) -> list[int]:
    """The memory of the process at four moments, 5 steps apart, `after` steps from now."""
    advance(trainer, after)
    moments = []
    for _ in range(4):
        advance(trainer, 5)
        gc.collect()
        _trim()
        moments.append(_resident())
    return moments


def _trim() -> None:
    """Give what the C allocator holds free back to the system: what is kept then shows, whatever the process did before."""
    import ctypes

    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
        pass


def _resident() -> int:
    """Bytes this process holds in memory now."""
    try:
        import os

        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
