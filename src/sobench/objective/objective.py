"""f_B(theta): the regularised mean loss of one batch as a function of the parameters, with all its oracles.

    f(theta) = 1/N sum_n loss(z_n(theta), y_n) + l2/2 ||theta||^2

`Objective` has one method per oracle. The longer computations are functions in the modules beside it:

    forward_pass      a pass with its graph: gradient, Hessian and Gauss-Newton products
    per_sample        gradients and Jacobians of single samples
    layer_oracles     passes that go back to recorded layers
    complex_oracles   passes at complex parameters
    taylor_oracles    derivatives along the groups of a partition
    verification      comparisons of passes, made once for a model

An objective without arguments is torch's closure, so `torch.optim.SGD(...).step(f)` works unmodified.

The following holds for every oracle, unless its docstring says otherwise.

- `at`: a flat theta [P] at which the oracle is evaluated. None: the parameters of the model.
- It leaves the parameters, `.grad`, BatchNorm's running statistics and the global random state unchanged.
- The l2 penalty is included.
- Its work is counted in `cost`. Docstrings state it in forward and backward passes over the batch. A backward pass
  costs two forward passes. A curvature product costs four. A complex pass costs four times a real one.
- A pass at the model's own parameters is kept with its graph until a parameter is written: the next oracle at the same
  parameters does not repeat it. Docstrings state the cost without a kept pass.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple, NoReturn, Protocol

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sobench.errors import Unsupported, UsageError
from sobench.linalg.complex_step import STEP
from sobench.linalg.operator import LinearOperator
from sobench.objective import arguments, complex_oracles, layer_oracles, per_sample, taylor_oracles, verification
from sobench.objective.cost import COMPLEX, DUAL, Cost
from sobench.objective.forward_pass import ForwardPass, LossFunction, is_fused, unfused
from sobench.objective.layers.matrices import LayerMatrices
from sobench.objective.layers.records import LayerRecord, recording, unrecorded
from sobench.objective.network import Network
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.precision import at_least_single
from sobench.objective.taylor.partition import Partition
from sobench.objective.taylor_oracles import Summary
from sobench.objective.torch_private import multi_add, multi_add_, version

REVISION = 1
"""Part of every method's fingerprint. Raise it when a change in this package can change the result of a run."""

FEW = 32
"""The largest number of samples for what is not metered: its memory is small beside that of an oracle."""

_SILENCE: AbstractContextManager[object] = nullcontext()


class Batch(NamedTuple):
    """inputs [N, ...] and targets [N] or [N, C]."""

    inputs: Tensor
    targets: Tensor


class Source(Protocol):
    """A training set, for objectives over more than one batch. The `Problem` of the harness is one."""

    def draw(self, samples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """An independent batch (inputs, targets) of so many samples."""
        ...

    def batches(self, size: int, generator: torch.Generator | None) -> Iterator[tuple[Tensor, Tensor]]:
        """The training set once, in random order, in batches of `size`."""
        ...

    def chunks(self) -> list[tuple[Tensor, Tensor]]:
        """The training set in order, in chunks that fit into memory."""
        ...


class StepStreams(Protocol):
    """The named random streams of one step. Those of the harness are in `sobench.training.streams`."""

    def generator(self, name: str) -> torch.Generator:
        """The next generator of a stream."""
        ...

    def entropy(self, name: str) -> int:
        """The seed of a stream at this step."""
        ...


class Objective:
    """The regularised loss of one batch, with the oracles that optimizers request.

    Raises UsageError for arguments of another kind. A pass raises Unsupported for a model that it cannot evaluate or
    differentiate, and says why.

    model: any module whose output is [N, C], or the `network` of another objective. On the device of the batch.
    loss: one of `sobench.losses`.
    batch: (inputs, targets).
    l2: the coefficient of the penalty.
    source: the training set for `independent_batch()`, `batches()` and `full()`. The harness provides it.
    streams: the random streams of the step; None: torch's global generator.
    cost: the work counters; None: new ones.
    key: the number of this batch in a fixed partition of the training set, or None.
    noise_seed: the seed of the dropout masks; None: a new one.
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
        if not isinstance(model, Network):
            arguments.check(model, loss, batch)
            model = Network(model)
        self.network = model
        self.space: ParameterSpace = self.network.space
        self.loss_function, self.batch, self.l2 = loss, Batch(*batch), l2
        if not self.batch.inputs.device == self.batch.targets.device == self.space.parameters[0].device:
            raise UsageError(_devices(self.space.parameters[0], *self.batch))
        self.source, self.streams, self.key = source, streams, key
        self.cost = Cost() if cost is None else cost
        if noise_seed is None and self.network.draws_on(self.batch.inputs):
            noise_seed = self._new_noise_seed()
        self._noise_seed = noise_seed
        self._kept_pass: _KeptPass | None = None
        self._records: dict[str, LayerRecord] | None = None
        self._statistics: dict[str, Tensor] | None = None

    def __len__(self) -> int:
        """N, the number of samples of the batch."""
        return self.batch.inputs.shape[0]

    @property
    def matrices(self) -> LayerMatrices:
        """theta as one matrix per Linear or Conv2d layer, weight and bias joined.

        Makes no pass. Raises Unsupported for grouped convolutions and for tied weights.
        """
        return self.network.matrices

    # The closure

    def __call__(self) -> Tensor:
        """torch's closure: assign every `.grad` and return the loss, a scalar. Both include the penalty.

        Costs a forward and a backward pass, which are not kept. The only oracle that writes `.grad` and updates
        BatchNorm's running statistics.
        """
        self.cost.used.add("closure")
        parameters = self.space.parameters
        self.network.clear_gradients()
        with torch.enable_grad(), self._noise():
            outputs = self.network.one_tensor(self.network.model(self.batch.inputs))
            loss = self.loss_function(self.with_graph(outputs), self.batch.targets)
            if self.network.differentiates_gradients:
                return self._closure_with_graph(loss)
            loss.backward()
        for p in parameters:
            if p.grad is None:
                if p.requires_grad:  # the outputs do not depend on p
                    p.grad = torch.zeros_like(p)
            elif not p.grad.is_sparse and not p.grad.is_contiguous():  # channels_last; torch's L-BFGS takes views
                p.grad = p.grad.contiguous()
        self.cost.forward(len(self))
        self.cost.backward(len(self))
        loss = loss.detach()
        if self.l2:
            with torch.no_grad():
                trained = [p for p in parameters if p.requires_grad]  # the others were frozen since
                for p in trained:
                    if p.grad is not None and p.grad.is_sparse:  # of an embedding; l2 theta is not sparse
                        p.grad = p.grad.to_dense()
                multi_add_([p.grad for p in trained if p.grad is not None], trained, alpha=self.l2)
            loss = loss + self._penalty(parameters)
        return loss

    def _closure_with_graph(self, loss: Tensor) -> Tensor:
        """The rest of the closure where an optimizer differentiates gradients: every `.grad` has a graph.

        Each time that it differentiates them counts as a curvature product.
        """
        parameters = [p for p in self.space.parameters if p.requires_grad]
        grads = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        self.cost.forward(len(self))
        self.cost.backward(len(self))
        with_graph: list[Tensor | None] = list(grads)
        # A copy, as torch's backward makes: a gradient that is a view cannot be detached in place.
        totals = [torch.zeros_like(p) if g is None else g.clone() for p, g in zip(parameters, with_graph)]
        if self.l2:
            totals = [g + self.l2 * p for p, g in zip(parameters, totals)]
        for p, g in zip(parameters, totals):
            p.grad = g
        counted = next((g for g in totals if g.requires_grad), None)
        if counted is not None:
            counted.register_hook(lambda _: self.cost.product(len(self)))
        return loss.detach() + self._penalty(self.space.parameters) if self.l2 else loss.detach()

    def commit(self) -> None:
        """Update BatchNorm's running statistics by this batch, as the closure does. Makes no pass.

        The training loop calls it after a step without a call of the closure. The statistics are those of the first
        pass at the model's own parameters. Without such a pass nothing changes.
        """
        if self._statistics is not None:
            self.network.write(self._statistics)
            self._statistics = None

    # Values and gradients

    @torch.no_grad()
    def loss(self, at: Tensor | None = None) -> Tensor:
        """f(theta), a scalar without a graph, for the cost of a forward pass, which is not kept.

        For a complex `at` [P] the value is that of the analytic extension, a complex scalar, for the cost of a complex
        forward pass. Raises Unsupported then for a layer without a complex form.
        """
        self.cost.used.add("loss")
        parameters = None if at is None else self.space.unflatten(at)
        if at is not None and parameters is not None and at.is_complex():
            verification.complex_loss(self, at)
            self.cost.forward(len(self), scale=COMPLEX)
            value = self._complex_loss(parameters)
        else:
            if at is not None:
                verification.elsewhere(self, at)
            self.cost.forward(len(self))
            with self._noise():
                value = self.loss_function(self.network(self.batch.inputs, parameters), self.batch.targets)
        return value + self._penalty(parameters or self.space.parameters) if self.l2 else value

    def value_and_grad(self, at: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """f(theta), a scalar, and its gradient [P], both without a graph. Costs a forward and a backward pass.

        For a complex `at` [P] both are complex, for the cost of complex passes. The gradient g is the holomorphic one,
        so that Im g(theta + ihp) / h is the Hessian product H p. Raises Unsupported then for a layer without a complex
        form.
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
        """`value_and_grad` at a complex `at` [P]."""
        verification.complex_gradient(self, at)
        self.cost.forward(len(self), scale=COMPLEX)
        self.cost.backward(len(self), scale=COMPLEX)
        loss, g = complex_oracles.value_and_grad(self._complex_loss, self.space, at)
        return (loss + self._penalty(self.space.unflatten(at)), g + self.l2 * at) if self.l2 else (loss, g)

    def penalty(self) -> Tensor | float:
        """l2/2 ||theta||^2 at the parameters of the model, a scalar; 0.0 for l2 = 0. Makes no pass."""
        return self._penalty(self.space.parameters) if self.l2 else 0.0

    # Curvature

    def hessian(self, at: Tensor | None = None) -> LinearOperator:
        """The Hessian of f, [P, P], as an operator.

        Costs a forward and a backward pass at once and a curvature product per vector. `value_and_grad()` at the same
        parameters afterwards makes no further pass. The operator keeps the graph alive.
        """
        self.cost.used.add("hessian")
        verification.hessian(self, at)
        forward = self.pass_at(at)
        gradient = self._known_gradient(at) or forward.gradient(self.batch.targets, create_graph=True)
        if at is None and self._kept_pass is not None:
            self._kept_pass.gradient = gradient
        return self._regularised(forward.hessian(gradient[1]))

    def ggn(self, at: Tensor | None = None) -> LinearOperator:
        """The generalised Gauss-Newton matrix J^T H_z J / N + l2 I, [P, P], as an operator.

        Costs a forward and a backward pass at once and a curvature product per vector. The operator keeps the graph
        alive.
        """
        self.cost.used.add("ggn")
        verification.jacobian(self, at)
        return self._regularised(self.pass_at(at).ggn(self.batch.targets))

    @torch.no_grad()
    def curvature(self, p: Tensor, h: float = STEP, at: Tensor | None = None) -> Tensor:
        """p'Hp, a scalar, for p [P] and the Hessian H of f, by a complex step of size h.

        Costs a forward pass of complex dual numbers: twelve forward passes. Raises Unsupported for a layer without a
        complex form.
        """
        self.cost.used.add("curvature")
        verification.curvature(self, at)
        self.cost.forward(len(self), scale=COMPLEX * DUAL)
        theta = self.space.get() if at is None else at
        return complex_oracles.curvature(self._complex_loss, self.space, theta, p, h) + self.l2 * p.dot(p)

    def summary(self, u: Tensor, partition: Partition, at: Tensor | None = None) -> Summary:
        """The derivatives [S], [S, S], [S] of phi(eta) = f(theta + u * I_{P:S} eta) at eta = 0, for a direction u [P].

        By Taylor mode through the network (`taylor.series`): a forward and a backward pass, and at most two forward
        passes for each of the S groups. If a group divides a tensor, or the model has an operation without a rule: by S
        Hessian products along the groups, and a third derivative of each, which costs two products. Forms no P x P
        matrix, and makes no backward pass for each of the S^2 pairs.
        """
        self.cost.used.add("summary")
        theta = self.space.get() if at is None else at.detach()
        verification.elsewhere_gradient(self, theta)
        verification.hessian(self, theta)
        summary = self._summary_by_series(theta, u, partition) or self._summary_by_products(theta, u, partition)
        if not self.l2:
            return summary
        first, second = partition.sums(theta * u), partition.sums(u * u)  # derivatives of ||theta||^2 / 2
        return Summary(summary.first + self.l2 * first, summary.second + self.l2 * torch.diag(second), summary.third)

    def _summary_by_series(self, theta: Tensor, u: Tensor, partition: Partition) -> Summary | None:
        """The summary without the penalty, by Taylor mode.

        None if a group divides a tensor, if the network has an operation without a rule, or if the first summary is not
        that by products. Either is remembered, so that it costs a pass only once.
        """
        if partition.tensors is None or self.network.known("series") is False:
            return None
        loss, targets = self.loss_function, self.batch.targets
        self.cost.forward(len(self))
        summary = taylor_oracles.by_series(self.outputs_at, loss, targets, self.space, theta, u, partition)
        if summary is None:
            self.network.learn("series", False)
        elif self.network.known("series") is None and not self._verify_series(summary, theta, u, partition):
            return None
        if summary is not None:
            self.cost.backward(len(self))
            self.cost.jets(len(self), columns=len(partition))
        return summary

    def _summary_by_products(self, theta: Tensor, u: Tensor, partition: Partition) -> Summary:
        """The summary without the penalty, by Hessian products."""
        self.cost.forward(len(self))
        self.cost.backward(len(self))
        self.cost.product(len(self), columns=len(partition))
        self.cost.third(len(self), columns=len(partition))
        loss, targets = self.loss_function, self.batch.targets
        return taylor_oracles.by_products(self.outputs_at, loss, targets, self.space, theta, u, partition)

    # Single samples

    def per_sample_grads(self, at: Tensor | None = None) -> Tensor:
        """The gradient of the loss of each sample plus the penalty, [N, P]. The mean of the rows is the gradient of f.

        Costs a forward and a backward pass, neither of them kept. If the output of a sample depends on the other
        samples (BatchNorm in training mode), or dropout is active, it costs a forward and N backward passes.
        """
        self.cost.used.add("per_sample_grads")
        parameters = self._parameters(at)
        if per_sample.separable(self.network, self.batch.inputs, parameters):
            verification.elsewhere(self, at)
            self.cost.forward(len(self))
            self.cost.backward(len(self))
            G = per_sample.separable_grads(self.network, self.loss_function, *self.batch, parameters)
        else:
            G = per_sample.coupled_grads(self._forward(at), self.batch.targets)
        return G + self.l2 * self.space.flatten(parameters) if self.l2 else G

    def output_jacobian(self, at: Tensor | None = None) -> Tensor:
        """The Jacobian of the outputs dz_nc / dtheta, [N, C, P]; the penalty does not enter.

        Costs a forward and C backward passes, none of them kept. If the output of a sample depends on the other samples
        (BatchNorm in training mode), or dropout is active, it costs a forward and N C backward passes.
        """
        self.cost.used.add("output_jacobian")
        parameters = self._parameters(at)
        if not per_sample.separable(self.network, self.batch.inputs, parameters):
            return per_sample.coupled_jacobian(self._forward(at))
        verification.elsewhere(self, at)
        J = per_sample.separable_jacobian(self.network, self.batch.inputs, parameters)
        self.cost.forward(len(self))
        self.cost.backward(len(self), scale=J.shape[1])
        return J

    # Layers

    @contextmanager
    def record(self) -> Generator[dict[str, LayerRecord]]:
        """A context that yields a record for each layer, by module name: inputs, outputs and output gradients.

        The records are those of the latest passes inside the block, without the penalty. Makes no pass itself, and
        drops the kept pass. A pass raises Unsupported for a layer whose output is not one tensor. The end of the block
        raises Unsupported, at the first pass of a model, for a layer whose record does not explain its gradient.
        """
        self.cost.used.add("record")
        self._kept_pass = None
        with recording(self.network.model, self.network.layers) as records:
            self._records = records
            try:
                yield records
                self._verify(records)
            finally:
                self._records = None

    def _verify(self, records: dict[str, LayerRecord]) -> None:
        """Check the records of a pass whose graph is there still, for a model that has layer matrices."""
        model, kept = self.network.model, self._kept_pass
        if layer_oracles.is_verified(model) or kept is None or kept.versions != self._versions():
            return
        layer_oracles.verify(self.network, kept.forward, records, self.batch.inputs)

    def recorded(self, when: bool = True) -> AbstractContextManager[dict[str, LayerRecord] | None]:
        """`record()` if `when`, else a context that records nothing and yields None."""
        return self.record() if when else nullcontext()

    def propagate(self, rest: Tensor | None = None) -> Tensor:
        """Inside `record()`: a backward pass to the outputs of the layers. Returns f(theta), a scalar.

        Fills the `output_grads` of the records, without the penalty. Forms no gradient in the parameters of a layer.
        The gradient in the other parameters (BatchNorm), without the penalty, is written into `rest` [P], if given; the
        layers' entries of `rest` are left alone. Costs a forward and half a backward pass. It shares the kept forward
        pass with `value_and_grad()`, and with the objective that this one was `sampled()` from. Raises UsageError
        outside `record()`.
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
        """Inside `record()`: the rows of a square root of the Gauss-Newton matrix, as gradients at the layers' outputs.

        {layer: [C, N, ...]}: d (R_n^T z_n)_c / dh for outputs h, with R_n R_n^T the loss's Hessian in the outputs of
        sample n; the penalty does not enter. Costs a forward and C half backward passes, and shares the forward pass as
        `propagate()` does. The records are left alone. Raises UsageError outside `record()`.
        """
        self.cost.used.add("propagate_roots")
        records = layer_oracles.active(self._records, "propagate_roots")
        return layer_oracles.propagate_roots(self._forward(), self.batch.targets, records)

    def accumulate(self, layers: Mapping[str, LayerRecord], grads: Mapping[str, Tensor], out: Tensor) -> Tensor:
        """The second half of a backward pass: sum_nt h_nt a_nt^T of every layer, for h [N, ...] at its outputs.

        Written into the layers' parts of `out` [P], which is returned; zero for a layer that is not in `grads`. The
        entries of parameters that belong to no layer are left alone. The penalty is not included. Costs half a backward
        pass. Raises Unsupported as `matrices` does.
        """
        self.cost.used.add("accumulate")
        layer_oracles.accumulate(self.matrices, layers, grads, out)
        self.cost.accumulation(len(self))
        return out

    # Other batches and labels

    def on(self, batch: tuple[Tensor, Tensor], streams: StepStreams | None = None, key: int | None = None) -> Objective:
        """This objective on the batch of another step, with its own random streams and dropout masks. Makes no pass.

        key: the number of that batch in a fixed partition of the training set, or None.
        """
        return self._like(batch, streams, key, noise_seed=None)

    def with_batch(self, batch: tuple[Tensor, Tensor]) -> Objective:
        """This objective on another batch of the same step: the same random streams, dropout masks and open records.

        Makes no pass.
        """
        other = self._like(batch, self.streams, key=None, noise_seed=self._noise_seed)
        other._records = self._records
        return other

    def sampled(self) -> Objective:
        """This objective with labels y ~ p(y | x) from the model's predictive distribution, from the stream "labels".

        Costs a forward pass, which both objectives share: `f.value_and_grad()` and then `f.sampled().value_and_grad()`
        make one forward and two backward passes. Raises Unsupported for a loss without a predictive distribution.
        """
        self.cost.used.add("sampled")
        forward = self._forward()
        targets = self.loss_function.sample(forward.outputs.detach(), generator=self.generator("labels"))
        other = self.with_batch((self.batch.inputs, targets))
        if self._kept_pass is not None:
            other._kept_pass = _KeptPass(forward, self._kept_pass.versions)
        return other

    def independent_batch(self, samples: int | None = None) -> Objective:
        """This objective on an independent batch of `samples` samples (None: as many as here), from the stream "fresh".

        Makes no pass. Raises Unsupported without a training set.
        """
        self.cost.used.add("independent_batch")
        return self.with_batch(self._training_set().draw(samples or len(self), self.generator("fresh")))

    def batches(self) -> Iterator[Objective]:
        """This objective on the training set once, in random order, in batches of the same size.

        A remainder is dropped. For estimates before the first step. Without a training set it yields this objective
        alone. Makes no pass.
        """
        self.cost.used.add("batches")
        if self.source is None:
            yield self
            return
        for batch in self.source.batches(len(self), self.generator("fresh")):
            yield self.with_batch(batch)

    def full(self) -> Objective:
        """The objective of the whole training set, evaluated in chunks.

        Makes no pass. Raises Unsupported without a training set.
        """
        self.cost.used.add("full")
        return FullObjective(self, self._training_set().chunks())

    def generator(self, stream: str) -> torch.Generator | None:
        """The next generator of a random stream of the step; None, torch's global one, without streams."""
        return None if self.streams is None else self.streams.generator(stream)

    # Inside

    def _like(
        self, batch: tuple[Tensor, Tensor], streams: StepStreams | None, key: int | None, noise_seed: int | None
    ) -> Objective:
        """An objective with this one's model, loss, penalty, training set and counters."""
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
        """The training set. Raises Unsupported without one."""
        if self.source is None:
            raise Unsupported("independent_batch() and full() need a training set: give Objective(..., source=...)")
        return self.source

    def _forward(self, at: Tensor | None = None) -> ForwardPass:
        """A forward pass with its graph. At the model's own parameters it is kept until one of them is written.

        Raises UsageError inside torch.autocast, which would round the matrices that a method makes of its results.
        """
        if torch.is_autocast_enabled(self.batch.inputs.device.type):
            raise UsageError(
                "an oracle other than the closure is called inside torch.autocast; allowed: torch.autocast inside the "
                "forward of the model"
            )
        versions = self._versions() if at is None else ()
        if at is None:
            if self._kept_pass is not None and self._kept_pass.versions == versions:
                return self._kept_pass.forward
            self._kept_pass = None  # frees its graph before the next one is built
        if at is not None:
            verification.elsewhere_gradient(self, at)
        leaves = None if at is None else tuple(p.detach().requires_grad_() for p in self.space.unflatten(at))
        buffers = self.network.buffers() if self.network.writes_buffers else None
        with torch.enable_grad(), self._noise():
            outputs = self.with_graph(self.network(self.batch.inputs, leaves, buffers))
        self.cost.forward(len(self))
        forward = ForwardPass(self.space, self.loss_function, outputs, leaves or self.space.parameters, self.cost)
        if at is None:
            self._kept_pass = _KeptPass(forward, versions)
            self._statistics = self._statistics or buffers
        return forward

    def pass_at(self, at: Tensor | None) -> ForwardPass:
        """A forward pass that can be differentiated twice. It is kept as one for the gradient is.

        Of a model with attention or weight_norm it is another than the kept pass of `value_and_grad()`: see `unfused`.
        """
        if self.network.known("fused") is None:
            with unrecorded():
                self.network.learn("fused", is_fused(self.unmetered()._forward(at).outputs))
        if not self.network.known("fused"):
            return self._forward(at)
        if at is None and self._kept_pass is not None and not self._kept_pass.twice:
            self._kept_pass = None
        with unfused():
            forward = self._forward(at)
        if at is None and self._kept_pass is not None:
            self._kept_pass.twice = True
        return forward

    def unmetered(self, whole: bool = False) -> Objective:
        """This objective without its penalty, with counters of its own, on few samples or on the `whole` batch.

        On the whole batch as well if the model does not take fewer.
        """
        inputs, targets = self.batch
        with self._noise():  # draws the seed, if there is none yet
            few = (inputs[:FEW], targets[:FEW])
            f = Objective(self.network, self.loss_function, few, noise_seed=self._noise_seed)
        if whole or len(self) <= FEW or not f._is_possible():
            f.batch = self.batch
        return f

    def _is_possible(self) -> bool:
        """Whether the model takes a batch of this size, as it takes others."""
        if self.network.known("few") is None:
            try:
                self.loss()
            except torch.OutOfMemoryError:
                raise
            except Exception:  # of the model or the loss, which says no more than that it is not possible
                return self.network.learn("few", False)
            self.network.learn("few", True)
        return self.network.known("few") is True

    def with_graph(self, outputs: Tensor) -> Tensor:
        """The outputs. Raises Unsupported if they depend on no parameter."""
        if outputs.requires_grad:
            return outputs
        model = type(self.network.model).__name__
        raise Unsupported(f"the outputs of {model} depend on no parameter that requires a gradient")

    def _verify_series(self, summary: Summary, theta: Tensor, u: Tensor, partition: Partition) -> bool:
        """Whether the first summary by a series, without the penalty, is right."""
        right = verification.series_is_right(self, summary, theta, u, partition)
        return self.network.learn("series", right)

    def _versions(self) -> tuple[object, ...]:
        """What a kept pass depends on: the mode of the model, and where and in which version the parameters are."""
        return (self.network.model.training, *((version(p), p.data_ptr()) for p in self.space.parameters))

    def _known_gradient(self, at: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]] | None:
        """The gradient, with its graph, that `hessian()` has formed on the kept pass; None without one."""
        return self._kept_pass.gradient if at is None and self._kept_pass is not None else None

    def outputs_at(self, parameters: tuple[Tensor, ...] | None) -> Tensor:
        """The outputs [N, C] of a pass that is not kept and writes no buffer; None: at the model's own parameters.

        It can be differentiated twice, as those of `pass_at`. Not metered.
        """
        buffers = self.network.buffers() if self.network.writes_buffers else None
        with self._noise(), sdpa_kernel(SDPBackend.MATH):
            return self.network(self.batch.inputs, parameters, buffers)

    def _complex_loss(self, parameters: tuple[Tensor, ...]) -> Tensor:
        """The loss at complex parameters, a complex scalar, without the penalty."""
        self.cost.used.add("complex")
        with self._noise(), unrecorded():
            return self.loss_function(self.network.complex(self.batch.inputs, parameters), self.batch.targets)

    def _noise(self) -> AbstractContextManager[object]:
        """A context in which dropout draws the masks of this batch, the same in every pass."""
        if not self.network.draws_on(self.batch.inputs):
            return _SILENCE
        if self._noise_seed is None:  # the model changed to training mode after this objective was constructed
            self._noise_seed = self._new_noise_seed()
        return self.network.noise(self._noise_seed)

    def _new_noise_seed(self) -> int:
        """A seed from the stream "dropout"; without streams from torch's global generator, as torch's own dropout."""
        return int(torch.randint(2**62, ())) if self.streams is None else self.streams.entropy("dropout")

    def _parameters(self, at: Tensor | None) -> tuple[Tensor, ...]:
        """The parameters at `at`, or of the model, one tensor each without a graph."""
        return self.space.unflatten(at) if at is not None else tuple(p.detach() for p in self.space.parameters)

    def _penalty(self, parameters: tuple[Tensor, ...]) -> Tensor:
        """l2/2 theta . theta, a scalar, without conjugation, so that it is holomorphic."""
        return 0.5 * self.l2 * _total((p * p).sum() for p in map(at_least_single, map(Tensor.detach, parameters)))

    def _regularised(self, A: LinearOperator) -> LinearOperator:
        """A + l2 I."""
        return A + self.l2 if self.l2 else A


@dataclass
class _KeptPass:
    """A pass at the model's own parameters, their versions at that time, and its gradient with a graph, if formed.

    twice: whether it was made without fused kernels, to be differentiated twice.
    """

    forward: ForwardPass
    versions: tuple[object, ...]
    gradient: tuple[Tensor, tuple[Tensor, ...]] | None = None
    twice: bool = False


class FullObjective(Objective):
    """The objective of a whole training set: the mean over its chunks, weighted by their sizes.

    Every oracle makes its passes on each chunk, so its cost is that of `Objective`'s oracle on all samples, and its
    memory is that of one chunk. The penalty is included as there. Nothing is kept between oracles. An operator is
    linearised anew on every chunk for every product. `record()` is not available.
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
        """N, the number of samples of the training set."""
        return self._samples

    def __call__(self) -> Tensor:
        """The closure over the whole set. Updates BatchNorm's running statistics once per chunk."""
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
        """f(theta), a scalar."""
        return _total(weight * f.loss(at) for weight, f in self._parts())

    def value_and_grad(self, at: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """f(theta), a scalar, and its gradient [P]."""
        losses: list[Tensor] = []

        def gradients() -> Iterator[Tensor]:
            for weight, f in self._parts():
                loss, g = f.value_and_grad(at)
                losses.append(weight * loss)
                yield weight * g

        g = _total(gradients())
        return _total(losses), g

    def curvature(self, p: Tensor, h: float = STEP, at: Tensor | None = None) -> Tensor:
        """p'Hp, a scalar, for p [P]."""
        return _total(weight * f.curvature(p, h, at) for weight, f in self._parts())

    def hessian(self, at: Tensor | None = None) -> LinearOperator:
        """The Hessian [P, P]. Every product costs a forward, a backward pass and a curvature product."""
        return self._mean_operator(lambda f: f.hessian(at))

    def ggn(self, at: Tensor | None = None) -> LinearOperator:
        """The Gauss-Newton matrix [P, P]. Every product costs a forward, a backward pass and a curvature product."""
        return self._mean_operator(lambda f: f.ggn(at))

    def per_sample_grads(self, at: Tensor | None = None) -> Tensor:
        """The gradients of all samples, [N, P]."""
        return torch.cat([f.per_sample_grads(at) for _, f in self._parts()])

    def output_jacobian(self, at: Tensor | None = None) -> Tensor:
        """The Jacobian of the outputs of all samples, [N, C, P]."""
        return torch.cat([f.output_jacobian(at) for _, f in self._parts()])

    def summary(self, u: Tensor, partition: Partition, at: Tensor | None = None) -> Summary:
        """The derivatives [S], [S, S], [S] along u [P]."""
        parts = [(weight, f.summary(u, partition, at)) for weight, f in self._parts()]
        return Summary(*(_total(weight * summary[i] for weight, summary in parts) for i in range(3)))

    def record(self) -> NoReturn:
        """Not available: raises Unsupported."""
        raise Unsupported("record() is for one batch; the full training set is many: record each batch")

    def sampled(self) -> Objective:
        """The whole set with labels from the model's predictive distribution. Costs a forward pass."""
        return FullObjective(self._part, [f.sampled().batch for _, f in self._parts()])

    def _parts(self) -> Iterator[tuple[float, Objective]]:
        """The weight and the objective of each chunk."""
        for chunk in self._chunks:
            yield len(chunk[0]) / self._samples, self._part.with_batch(chunk)

    def _mean_operator(self, linearise: Callable[[Objective], LinearOperator]) -> LinearOperator:
        """The weighted mean of the operators of the chunks."""

        def product(V: Tensor) -> Tensor:
            return _total(weight * (linearise(f) @ V) for weight, f in self._parts())

        device = self.space.parameters[0].device
        return LinearOperator(product, self.space.size, matmat=product, dtype=self.space.dtype, device=device)


def _total(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of at least one tensor. Each is added before the next one is computed, so only two exist at a time."""
    remaining = iter(tensors)
    total = next(remaining)
    for tensor in remaining:
        total = total + tensor
    return total


def _devices(parameter: Tensor, inputs: Tensor, targets: Tensor) -> str:
    """The message about tensors on several devices."""
    return (
        f"the model is on {parameter.device}, the inputs are on {inputs.device} and the targets on {targets.device}; "
        "allowed: one device for all"
    )
