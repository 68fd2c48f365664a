"""The contract that every optimizer keeps, ours, torch's or a user's: `sobench check NAME`.

Each check takes a Subject (one optimizer on a small real problem in float64: the digits, a tanh network) and raises Broken
with the reason. They run in the project's tests over all entry points.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from sobench import snapshot
from sobench.contract_memory import residents
from sobench.contract_settings import is_read
from sobench.contract_subject import STEPS, Broken, Subject, advance, same_bits, theta
from sobench.errors import SobenchError, Unsupported

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
