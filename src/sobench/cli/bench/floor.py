"""A lower bound on the time of a step: the time of its heavy calls alone.

Heavy calls are matrix products, convolutions and factorizations (HEAVY). They are recorded over whole periods of the
optimizer, with the values, shapes, strides, alignment and shared memory of their operands. Each distinct call is then
made again alone, in the same process, on a copy of its operands, many times in a row; its best time counts. A step
cannot be faster than its heavy calls made one after the other. For small matrices that is the time of the call itself.

Elementwise work, copies, sums and everything that Python does are not in the floor. Matrix products write into outputs
that exist already. All operands of a small call are in the cache.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sobench.cli.bench.overhead import seconds
from sobench.objective.torch_private import DispatchMode, tree_flatten, tree_unflatten

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "addbmm", "mv", "addmv"}
HEAVY = PRODUCTS | {
    "convolution",
    "convolution_backward",
    "cholesky",
    "linalg_cholesky_ex",
    "cholesky_inverse",
    "cholesky_solve",
    "triangular_solve",
    "linalg_solve_triangular",
    "linalg_inv_ex",
    "linalg_lu_factor_ex",
    "linalg_lu_solve",
    "_linalg_solve_ex",
    "linalg_ldl_factor_ex",
    "linalg_ldl_solve",
    "_linalg_eigh",
    "_linalg_svd",
    "linalg_qr",
    "linalg_eig",
    "linalg_lstsq",
    "linalg_householder_product",
}
"""Names of aten's functions, without the underscore of those in place."""

ALIGNMENT = 16
"""A copy of an operand begins at the same place as the operand, modulo so many elements."""
BURST = 2e-4
"""Calls are timed in bursts of about this many seconds."""
BURSTS, PATIENCE = 12, 0.03
"""The number of bursts, of which the best counts. After 3 of them, no other begins after this many seconds."""


@dataclass(frozen=True)
class Floor:
    """The heavy calls of a step: their number and their time, in seconds."""

    calls: float
    seconds: float


class HeavyCalls(DispatchMode):
    """A context that records the heavy calls made inside. counts: the number of each distinct call."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[Hashable] = Counter()
        self._calls: dict[Hashable, Call] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name.removesuffix("_") not in HEAVY:
            return func(*args, **kwargs)
        leaves, form = tree_flatten((args, kwargs))
        key = (func, str(form), tuple(_signature(leaves)))
        self.counts[key] += 1
        call = None if key in self._calls else Call(func, name, copies(leaves), form)
        result = func(*args, **kwargs)
        if call is not None:
            self._calls[key] = call.with_output(result)
        return result

    def floor(self, steps: int, device: torch.device) -> Floor:
        """The floor of a step. steps: their number while the calls were recorded."""
        total = sum(count * self._calls[key].seconds(device) for key, count in self.counts.items())
        return Floor(self.counts.total() / steps, total / steps)


class Call:
    """A call of an aten function on operands of its own, to be repeated."""

    def __init__(self, func: Any, name: str, leaves: list[Any], form: Any):
        self._function: Callable[..., Any] = func
        self._args, self._kwargs = tree_unflatten(leaves, form)
        self._name = name

    def with_output(self, result: Any) -> Call:
        """This call with a preallocated output like `result`, if it is a matrix product.

        It is made by torch's own binding then, which takes less time than aten's.
        """
        if self._name in PRODUCTS:
            self._function = getattr(torch, self._name)
            self._kwargs = {"out": torch.empty_like(result)} | self._kwargs
        elif self._name.removesuffix("_") in PRODUCTS:
            self._function = getattr(Tensor, self._name)
        return self

    @torch.no_grad()
    def seconds(self, device: torch.device) -> float:
        """The best time of the call."""
        function, args, kwargs = self._function, self._args, self._kwargs

        def burst(size: int) -> float:
            def calls() -> None:
                for _ in range(size):
                    function(*args, **kwargs)

            return seconds(calls, device) / size

        burst(1)
        size = max(1, round(BURST / max(burst(3), 1e-7)))
        best, begun = burst(size), time.perf_counter()
        for n in range(1, BURSTS):
            if n > 2 and time.perf_counter() - begun > PATIENCE:
                break
            best = min(best, burst(size))
        return best


def copies(leaves: Sequence[Any]) -> list[Any]:
    """The arguments with copies of their tensors, which have the same strides and alignment and share memory alike."""
    memory: dict[Hashable, Tensor] = {}
    starts: dict[Hashable, int] = {}
    for key, parts in _by_storage(leaves).items():
        first = min(int(t.storage_offset()) for t in parts)
        starts[key] = first - first % ALIGNMENT
        size = max(_end(t) for t in parts) - starts[key]
        memory[key] = parts[0].as_strided((size,), (1,), starts[key]).clone()

    def copy(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        key = _storage(leaf)
        return memory[key].as_strided(leaf.shape, leaf.stride(), leaf.storage_offset() - starts[key])

    return [copy(leaf) for leaf in leaves]


def _signature(leaves: Sequence[Any]) -> list[Hashable]:
    """What the time of a call depends on; of a float only whether it is 0 or 1, which saves work."""
    numbers: dict[Hashable, int] = {}
    signature: list[Hashable] = []
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            storage = numbers.setdefault(_storage(leaf), len(numbers))
            offset = leaf.storage_offset() % ALIGNMENT
            signature.append((leaf.shape, leaf.stride(), leaf.dtype, storage, offset))
        else:
            signature.append("other" if isinstance(leaf, float) and leaf not in (0.0, 1.0) else leaf)
    return signature


def _by_storage(leaves: Sequence[Any]) -> dict[Hashable, list[Tensor]]:
    groups: dict[Hashable, list[Tensor]] = {}
    for leaf in leaves:
        if isinstance(leaf, Tensor):
            groups.setdefault(_storage(leaf), []).append(leaf)
    return groups


def _storage(tensor: Tensor) -> Hashable:
    return tensor.untyped_storage().data_ptr(), tensor.dtype


def _end(tensor: Tensor) -> int:
    """The place after the last element of a tensor in its storage."""
    last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride()))
    return int(tensor.storage_offset()) + (last + 1 if tensor.numel() else 0)
