"""f_B(theta): the regularised mean loss of one batch as a function of the parameters, and every question about it.

    f(theta) = 1/N sum_n loss(z_n(theta), y_n) + l2/2 ||theta||^2

`Objective` has each oracle and its docstring; the longer computations are functions beside it:

    forward_pass      a pass with its graph: gradient, Hessian and Gauss-Newton products
    per_sample        gradients and Jacobians of single samples
    layer_oracles     passes that go back to recorded layers
    complex_oracles   passes at complex parameters
    taylor_oracles    derivatives along the groups of a partition

Called with no arguments an objective is torch's closure, so `torch.optim.SGD(...).step(f)` runs unmodified. Every other
oracle leaves the parameters, `.grad`, BatchNorm's running statistics and the random state as it found them. The meter
`cost` counts the work. Where `at`, a flat theta [P], is given, an oracle is evaluated there; otherwise at the model's
own parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from sobench.errors import Unsupported
from sobench.linalg.complex_step import STEP
from sobench.linalg.operator import LinearOperator
from sobench.objective import complex_oracles, layer_oracles, per_sample, taylor_oracles
from sobench.objective.cost import COMPLEX, DUAL, Cost
from sobench.objective.forward_pass import ForwardPass, LossFunction
from sobench.objective.layers.matrices import LayerMatrices
from sobench.objective.layers.records import LayerRecord, recording, unrecorded
from sobench.objective.network import Network
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.taylor.partition import Partition
from sobench.objective.taylor_oracles import Summary
from sobench.objective.torch_private import multi_add, multi_add_, version

REVISION = 1
"""Part of every method's fingerprint. Raise it by hand when a change in this package can change the result of a run."""

_SILENCE: AbstractContextManager[None] = nullcontext()


class Batch(NamedTuple):
    """inputs [N, ...] and targets [N] or [N, C]."""

    inputs: Tensor
    targets: Tensor


class Source(Protocol):
    """A training set, for the objectives that are about more than one batch: the harness's `Problem` is one."""

    def draw(self, samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """An independent batch of so many samples."""
        ...

    def batches(self, size: int, generator: torch.Generator | None) -> Iterator[tuple[Tensor, Tensor]]:
        """The training set once, in a random order, in batches of `size`."""
        ...

    def chunks(self) -> list[tuple[Tensor, Tensor]]:
        """The training set in order, in pieces that fit into memory."""
        ...


class StepStreams(Protocol):
    """The random streams of one step, by name: the harness's are in `sobench.training.streams`."""

    def generator(self, name: str) -> torch.Generator:
        """The next generator of a stream."""
        ...

    def entropy(self, name: str) -> int:
        """The step's seed of a stream."""
        ...


class Objective:
    """The loss of one batch, answering the questions that optimizers ask.

    model: any module whose output is [N, C], or the `network` of another objective. loss: one of `sobench.losses`.
    batch: (inputs, targets). l2: the coefficient of the penalty. source: the training set that `fresh()`, `batches()`
    and `full()` draw from (the harness gives its own). streams: the random streams of the step; None: torch's global
    one. cost: the meter; None: a new one. key: the number of this batch in a fixed partition of the training set, or
    None. noise_seed: of the dropout masks; None: a new one.
    """

    def __init__(
        self,
        model: nn.Module | Network,
        loss: LossFunction,
        batch: tuple[Tensor, Tensor],
        *,
        l2: float = 0.0,
        source: Source | None = None,
        streams: StepStreams | None = None,
        cost: Cost | None = None,
        key: int | None = None,
        noise_seed: int | None = None,
    ):
        self.network = model if isinstance(model, Network) else Network(model)
        self.space: ParameterSpace = self.network.space
        self.loss_function, self.batch, self.l2 = loss, Batch(*batch), l2
        self.source, self.streams, self.key = source, streams, key
        self.cost = Cost() if cost is None else cost
        self._noise_seed = self._new_noise_seed() if noise_seed is None else noise_seed
        self._kept_pass: _KeptPass | None = None
        self._records: dict[str, LayerRecord] | None = None
        self._statistics: dict[str, Tensor] | None = None

    def __len__(self) -> int:
        """N, the samples of the batch."""
        return self.batch.inputs.shape[0]

    @property
    def matrices(self) -> LayerMatrices:
        """theta as one matrix a Linear or Conv2d layer, weight and bias joined. Raises Unsupported where that cannot be."""
        return self.network.matrices

    # The closure

    def __call__(self) -> Tensor:
        """Zero and assign every `.grad`, and return the loss: torch's closure. It alone commits BatchNorm's statistics."""
        self.cost.used.add("closure")
        parameters = self.space.parameters
        for p in parameters:
            p.grad = None
        with torch.enable_grad(), self._noise():
            loss = self.loss_function(self.network.model(self.batch.inputs), self.batch.targets)
            loss.backward()
        for p in parameters:
            if p.grad is None:  # the outputs do not use it
                p.grad = torch.zeros_like(p)
        self.cost.forward(len(self))
        self.cost.backward(len(self))
        loss = loss.detach()
        if self.l2:
            with torch.no_grad():
                multi_add_([p.grad for p in parameters if p.grad is not None], parameters, alpha=self.l2)
            loss = loss + self._penalty(parameters)
        return loss

    def commit(self) -> None:
        """Move BatchNorm's running statistics on by this batch, as the closure does.

        For the loop, after an optimizer that never called the closure. The statistics are those of the first pass at
        the model's own parameters.
        """
        if self._statistics is not None:
            self.network.write(self._statistics)
            self._statistics = None

    # Values and gradients

    @torch.no_grad()
    def loss(self, at: Tensor | None = None) -> Tensor:
        """f(theta), a scalar. With a complex `at` [P] it is a complex-step pass, and complex itself."""
        self.cost.used.add("loss")
        parameters = None if at is None else self.space.unflatten(at)
        if parameters is not None and parameters[0].is_complex():
            self.cost.forward(len(self), scale=COMPLEX)
            value = self._complex_loss(parameters)
        else:
            self.cost.forward(len(self))
            with self._noise():
                value = self.loss_function(self.network(self.batch.inputs, parameters), self.batch.targets)
        return value + self._penalty(parameters or self.space.parameters) if self.l2 else value

    def value_and_grad(self, at: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """f(theta), a scalar, and its gradient [P]; `.grad` is left alone.

        With a complex `at` [P] both are complex, and the gradient is the holomorphic one: Im g(theta + ihp) / h is a
        Hessian product.
        """
        self.cost.used.add("value_and_grad")
        if at is not None and at.is_complex():
            return self._complex_value_and_grad(at)
        forward = self._forward(at)
        loss, grads = self._known_gradient(at) or forward.gradient(self.batch.targets)
        g = self.space.flatten([g.detach() for g in grads])
        if not self.l2:
            return loss, g
        theta = self.space.flatten([p.detach() for p in forward.parameters])
        return loss + self._penalty(forward.parameters), g + self.l2 * theta

    def _complex_value_and_grad(self, at: Tensor) -> tuple[Tensor, Tensor]:
        self.cost.forward(len(self), scale=COMPLEX)
        self.cost.backward(len(self), scale=COMPLEX)
        loss, g = complex_oracles.value_and_grad(self._complex_loss, self.space, at)
        return (loss + self._penalty(self.space.unflatten(at)), g + self.l2 * at) if self.l2 else (loss, g)

    def penalty(self) -> Tensor | float:
        """l2/2 ||theta||^2 at the model's parameters."""
        return self._penalty(self.space.parameters) if self.l2 else 0.0

    # Curvature

    def hessian(self, at: Tensor | None = None) -> LinearOperator:
        """The Hessian of f, [P, P], linearised once; `value_and_grad()` after it costs nothing more."""
        self.cost.used.add("hessian")
        forward = self._forward(at)
        gradient = self._known_gradient(at) or forward.gradient(self.batch.targets, create_graph=True)
        if at is None and self._kept_pass is not None:
            self._kept_pass.gradient = gradient
        return self._regularised(forward.hessian(gradient[1]))

    def ggn(self, at: Tensor | None = None) -> LinearOperator:
        """The generalised Gauss-Newton matrix J^T H_z J / N + l2 I, [P, P], linearised once."""
        self.cost.used.add("ggn")
        return self._regularised(self._forward(at).ggn(self.batch.targets))

    @torch.no_grad()
    def curvature(self, p: Tensor, h: float = STEP, at: Tensor | None = None) -> Tensor:
        """p'Hp, a scalar, for p [P]; H of the whole f, penalty included. By a complex step of size h."""
        self.cost.used.add("curvature")
        self.cost.forward(len(self), scale=COMPLEX * DUAL)
        theta = self.space.get() if at is None else at
        return complex_oracles.curvature(self._complex_loss, self.space, theta, p, h) + self.l2 * p.dot(p)

    def summary(self, u: Tensor, partition: Partition, at: Tensor | None = None) -> Summary:
        """The derivatives of phi(eta) = f(theta + u * I_{P:S} eta) at eta = 0, for a direction u [P].

        By Taylor series through the network (`taylor.series`): one gradient, and at most two forward passes for each of
        the S groups. Where groups divide a tensor, or the model has an operation without a rule: by S products with the
        Hessian along the groups, and a third derivative of each. No P x P matrix is formed, and no backward pass is
        made for each of S^2 pairs.
        """
        self.cost.used.add("summary")
        theta = self.space.get() if at is None else at.detach()
        found = self._summary_by_series(theta, u, partition) or self._summary_by_products(theta, u, partition)
        if not self.l2:
            return found
        slope, bend = partition.sums(theta * u), partition.sums(u * u)
        return Summary(found.first + self.l2 * slope, found.second + self.l2 * torch.diag(bend), found.third)

    def _summary_by_series(self, theta: Tensor, u: Tensor, partition: Partition) -> Summary | None:
        """None where groups divide a tensor, and for a network with an operation that has no rule: from then on at once."""
        if partition.tensors is None or not self.network.has_series:
            return None
        loss, targets = self.loss_function, self.batch.targets
        self.cost.forward(len(self))
        found = taylor_oracles.by_series(self._outputs_at, loss, targets, self.space, theta, u, partition)
        self.network.has_series = found is not None
        if found is not None:
            self.cost.backward(len(self))
            self.cost.jets(len(self), columns=len(partition))
        return found

    def _summary_by_products(self, theta: Tensor, u: Tensor, partition: Partition) -> Summary:
        self.cost.forward(len(self))
        self.cost.backward(len(self))
        self.cost.product(len(self), columns=len(partition))
        self.cost.third(len(self), columns=len(partition))
        loss, targets = self.loss_function, self.batch.targets
        return taylor_oracles.by_products(self._outputs_at, loss, targets, self.space, theta, u, partition)

    # Single samples

    def per_sample_grads(self, at: Tensor | None = None) -> Tensor:
        """The gradient of each sample's own loss plus the penalty, [N, P]: their mean is the gradient."""
        self.cost.used.add("per_sample_grads")
        parameters = self._parameters(at)
        if self.network.separable:
            self.cost.forward(len(self))
            self.cost.backward(len(self))
            G = per_sample.separable_grads(self.network, self.loss_function, self.batch, parameters)
        else:
            G = per_sample.coupled_grads(self._forward(at), self.batch.targets)
        return G + self.l2 * self.space.flatten(parameters) if self.l2 else G

    def output_jacobian(self, at: Tensor | None = None) -> Tensor:
        """dz_nc / dtheta, [N, C, P]."""
        self.cost.used.add("output_jacobian")
        if not self.network.separable:
            return per_sample.coupled_jacobian(self._forward(at))
        J = per_sample.separable_jacobian(self.network, self.batch.inputs, self._parameters(at))
        self.cost.forward(len(self))
        self.cost.backward(len(self), scale=J.shape[1])
        return J

    # Layers

    @contextmanager
    def record(self) -> Iterator[dict[str, LayerRecord]]:
        """Per layer inputs, outputs and output gradients of the passes made inside the block, by module name."""
        self.cost.used.add("record")
        self._kept_pass = None
        with recording(self.network.layers) as records:
            self._records = records
            try:
                yield records
            finally:
                self._records = None

    def recorded(self, when: bool = True) -> AbstractContextManager[dict[str, LayerRecord] | None]:
        """`record()` at the steps that need it; elsewhere a context that records nothing and yields None."""
        return self.record() if when else nullcontext()

    def propagate(self, rest: Tensor | None = None) -> Tensor:
        """Inside `record()`: a backward pass to the layers' outputs alone, at half its cost; f(theta) is returned.

        Fills every `output_grads`, and forms no gradient of a layer's parameters; those of the others (BatchNorm's),
        without the penalty, are written into `rest` [P] where it is given. Shares the forward pass of
        `value_and_grad()`, and of the objective that this one was `sampled()` from. Raises UsageError outside
        `record()`.
        """
        self.cost.used.add("propagate")
        records = layer_oracles.active(self._records, "propagate")
        forward, targets = self._forward(), self.batch.targets
        if rest is None:
            loss = layer_oracles.propagate(forward, targets, records)
        else:
            loss = layer_oracles.propagate_with_rest(forward, targets, records, self.matrices, rest)
        return loss + self._penalty(forward.parameters) if self.l2 else loss

    def propagate_roots(self) -> dict[str, Tensor]:
        """Inside `record()`: the rows of a square root of the Gauss-Newton matrix, as far back as the layers' outputs h.

        {layer: [C, N, ...]}: d (R_n^T z_n)_c / dh, with R_n R_n^T the loss's Hessian in the outputs of sample n. One
        backward pass of C cotangents, sharing the forward pass as `propagate()` does. Raises UsageError outside
        `record()`.
        """
        self.cost.used.add("propagate_roots")
        records = layer_oracles.active(self._records, "propagate_roots")
        return layer_oracles.propagate_roots(self._forward(), self.batch.targets, records)

    def accumulate(self, layers: Mapping[str, LayerRecord], grads: Mapping[str, Tensor], out: Tensor) -> Tensor:
        """The other half of a backward pass: sum_nt h_nt a_nt^T of every layer, for gradients h [N, ...] at its outputs.

        Written into the layers' parts of `out` [P], zero for a layer that is not in `grads`; what no layer owns stays
        as it is. Returns `out`.
        """
        self.cost.used.add("accumulate")
        layer_oracles.accumulate(self.matrices, layers, grads, out)
        self.cost.accumulation(len(self))
        return out

    # Other batches and labels

    def on(self, batch: tuple[Tensor, Tensor], streams: StepStreams | None = None, key: int | None = None) -> Objective:
        """The same function on the batch of another step, with random streams and dropout masks of its own.

        key: the number of that batch in a fixed partition of the training set.
        """
        return self._like(batch, streams, key, noise_seed=None)

    def with_batch(self, batch: tuple[Tensor, Tensor]) -> Objective:
        """The same function on another batch of this step, with the same random streams and dropout masks."""
        other = self._like(batch, self.streams, key=None, noise_seed=self._noise_seed)
        other._records = self._records
        return other

    def sampled(self) -> Objective:
        """The same inputs with labels y ~ p(y | x) drawn from the model's own predictive distribution.

        Shares this objective's forward pass: `f.value_and_grad()`, then `f.sampled().value_and_grad()`, is one forward
        and two backwards. Raises Unsupported for a loss without a predictive distribution.
        """
        self.cost.used.add("sampled")
        forward = self._forward()
        targets = self.loss_function.sample(forward.outputs.detach(), generator=self.generator("labels"))
        other = self.with_batch((self.batch.inputs, targets))
        if self._kept_pass is not None:
            other._kept_pass = _KeptPass(forward, self._kept_pass.versions)
        return other

    def fresh(self, samples: int | None = None) -> Objective:
        """An independent batch, of the same size unless `samples` says otherwise. Raises Unsupported without a training set."""
        self.cost.used.add("fresh")
        return self.with_batch(self._training_set().draw(samples or len(self), self.generator("fresh")))

    def batches(self) -> Iterator[Objective]:
        """The training set once, in a random order, in batches of this one's size; a remainder is dropped.

        For what is estimated before the first step. Without a training set it is this batch alone.
        """
        self.cost.used.add("batches")
        if self.source is None:
            yield self
            return
        for batch in self.source.batches(len(self), self.generator("fresh")):
            yield self.with_batch(batch)

    def full(self) -> Objective:
        """The whole training set, evaluated in chunks. Raises Unsupported where there is none."""
        self.cost.used.add("full")
        return FullObjective(self, self._training_set().chunks())

    def generator(self, stream: str) -> torch.Generator | None:
        """The next generator of a random stream at this step; None, torch's global one, outside the harness."""
        return None if self.streams is None else self.streams.generator(stream)

    # Inside

    def _like(
        self, batch: tuple[Tensor, Tensor], streams: StepStreams | None, key: int | None, noise_seed: int | None
    ) -> Objective:
        """The same model, loss, penalty, training set and meter."""
        return Objective(
            self.network,
            self.loss_function,
            batch,
            l2=self.l2,
            source=self.source,
            streams=streams,
            cost=self.cost,
            key=key,
            noise_seed=noise_seed,
        )

    def _training_set(self) -> Source:
        if self.source is None:
            raise Unsupported("fresh() and full() need a training set: give Objective(..., source=...)")
        return self.source

    def _forward(self, at: Tensor | None = None) -> ForwardPass:
        """A forward pass with its graph; at the model's own parameters it is kept until one of them is written."""
        versions = (self.network.model.training, *((version(p), p.data_ptr()) for p in self.space.parameters))
        if at is None:
            if self._kept_pass is not None and self._kept_pass.versions == versions:
                return self._kept_pass.forward
            self._kept_pass = None  # its graph is freed before the next is made
        leaves = None if at is None else tuple(p.detach().requires_grad_() for p in self.space.unflatten(at))
        buffers = self.network.buffers() if self.network.writes_buffers else None
        with torch.enable_grad(), self._noise():
            outputs = self.network(self.batch.inputs, leaves, buffers)
        self.cost.forward(len(self))
        forward = ForwardPass(self.space, self.loss_function, outputs, leaves or self.space.parameters, self.cost)
        if at is None:
            self._kept_pass = _KeptPass(forward, versions)
            self._statistics = self._statistics or buffers
        return forward

    def _known_gradient(self, at: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]] | None:
        """The gradient that `hessian()` has already formed on the kept pass."""
        return self._kept_pass.gradient if at is None and self._kept_pass is not None else None

    def _outputs_at(self, parameters: tuple[Tensor, ...]) -> Tensor:
        """The outputs [N, C] of a pass that keeps nothing and writes no buffer of the model."""
        buffers = self.network.buffers() if self.network.writes_buffers else None
        with self._noise():
            return self.network(self.batch.inputs, parameters, buffers)

    def _complex_loss(self, parameters: tuple[Tensor, ...]) -> Tensor:
        """The loss at complex parameters, without the penalty."""
        self.cost.used.add("complex")
        with self._noise(), unrecorded():
            return self.loss_function(self.network.complex(self.batch.inputs, parameters), self.batch.targets)

    def _noise(self) -> AbstractContextManager[None]:
        """Dropout draws the same mask in every pass on this batch."""
        if not self.network.draws_noise:
            return _SILENCE
        if self._noise_seed is None:  # the model was put in training mode after this objective was made
            self._noise_seed = self._new_noise_seed()
        assert self._noise_seed is not None
        return self.network.noise(self._noise_seed)

    def _new_noise_seed(self) -> int | None:
        """The step's; outside the harness torch's global random state moves on, as it does for torch's own dropout."""
        if not self.network.draws_noise:
            return None
        return int(torch.randint(2**62, ())) if self.streams is None else self.streams.entropy("dropout")

    def _parameters(self, at: Tensor | None) -> tuple[Tensor, ...]:
        return self.space.unflatten(at) if at is not None else tuple(p.detach() for p in self.space.parameters)

    def _penalty(self, parameters: tuple[Tensor, ...]) -> Tensor:
        """l2/2 theta . theta, without conjugation, so that it stays holomorphic."""
        return 0.5 * self.l2 * _total((p.detach() * p.detach()).sum() for p in parameters)

    def _regularised(self, A: LinearOperator) -> LinearOperator:
        return A + self.l2 if self.l2 else A


@dataclass
class _KeptPass:
    """A pass at the model's own parameters and their versions then; the differentiable gradient where it was formed."""

    forward: ForwardPass
    versions: tuple[object, ...]
    gradient: tuple[Tensor, tuple[Tensor, ...]] | None = None


class FullObjective(Objective):
    """The mean over the chunks of a training set, each weighted by its size.

    Nothing is linearised once: a product makes its own pass over every chunk, so memory is that of one chunk.
    """

    def __init__(self, part: Objective, chunks: list[tuple[Tensor, Tensor]]):
        super().__init__(
            part.network,
            part.loss_function,
            part.batch,
            l2=part.l2,
            source=part.source,
            streams=part.streams,
            cost=part.cost,
            noise_seed=part._noise_seed,
        )
        self._part, self._chunks = part, chunks
        self._samples = sum(len(inputs) for inputs, _ in chunks)

    def __len__(self) -> int:
        return self._samples

    def __call__(self) -> Tensor:
        """The closure over the whole set; commits BatchNorm's statistics once a chunk."""
        losses: list[Tensor] = []
        total: list[Tensor] = []
        for weight, f in self._parts():
            losses.append(weight * f())
            grads = [weight * p.grad for p in self.space.parameters if p.grad is not None]
            total = multi_add(total, grads) if total else grads
        for p, g in zip(self.space.parameters, total):
            p.grad = g
        return _total(losses)

    def loss(self, at: Tensor | None = None) -> Tensor:
        return _total(weight * f.loss(at) for weight, f in self._parts())

    def value_and_grad(self, at: Tensor | None = None) -> tuple[Tensor, Tensor]:
        losses: list[Tensor] = []

        def gradients() -> Iterator[Tensor]:
            for weight, f in self._parts():
                loss, g = f.value_and_grad(at)
                losses.append(weight * loss)
                yield weight * g

        g = _total(gradients())
        return _total(losses), g

    def curvature(self, p: Tensor, h: float = STEP, at: Tensor | None = None) -> Tensor:
        return _total(weight * f.curvature(p, h, at) for weight, f in self._parts())

    def hessian(self, at: Tensor | None = None) -> LinearOperator:
        return self._mean_operator(lambda f: f.hessian(at))

    def ggn(self, at: Tensor | None = None) -> LinearOperator:
        return self._mean_operator(lambda f: f.ggn(at))

    def per_sample_grads(self, at: Tensor | None = None) -> Tensor:
        return torch.cat([f.per_sample_grads(at) for _, f in self._parts()])

    def output_jacobian(self, at: Tensor | None = None) -> Tensor:
        return torch.cat([f.output_jacobian(at) for _, f in self._parts()])

    def summary(self, u: Tensor, partition: Partition, at: Tensor | None = None) -> Summary:
        parts = [(weight, f.summary(u, partition, at)) for weight, f in self._parts()]
        return Summary(*(_total(weight * found[i] for weight, found in parts) for i in range(3)))

    def record(self) -> AbstractContextManager[dict[str, LayerRecord]]:
        raise Unsupported("record() is for one batch; the full training set is many: record each batch")

    def sampled(self) -> Objective:
        """The whole set with labels drawn from the model's predictive distribution."""
        return FullObjective(self._part, [f.sampled().batch for _, f in self._parts()])

    def _parts(self) -> Iterator[tuple[float, Objective]]:
        for chunk in self._chunks:
            yield len(chunk[0]) / self._samples, self._part.with_batch(chunk)

    def _mean_operator(self, linearise: Callable[[Objective], LinearOperator]) -> LinearOperator:
        def product(V: Tensor) -> Tensor:
            return _total(weight * (linearise(f) @ V) for weight, f in self._parts())

        p = self.space.parameters[0]
        return LinearOperator(product, self.space.size, matmat=product, dtype=p.dtype, device=p.device)


def _total(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of at least one tensor; each is added before the next is made."""
    remaining = iter(tensors)
    total = next(remaining)
    for tensor in remaining:
        total = total + tensor
    return total
