"""A model as a pure function of its parameters and inputs: passes write no buffer and draw no global random number."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sobench.errors import Unsupported
from sobench.objective.holomorphic.mode import ComplexFunctions
from sobench.objective.layers.matrices import LayerMatrices
from sobench.objective.layers.records import with_parameters
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.precision import at_least_single
from sobench.objective.torch_private import BatchNorm, Dropout

_AS_IT_IS: AbstractContextManager[object] = nullcontext()

_DRAWS: WeakKeyDictionary[nn.Module, dict[bool, bool]] = WeakKeyDictionary()
"""{model: {training mode: whether a pass draws random numbers other than by a dropout layer}}, as far as known."""


class Network:
    """z = network(inputs, parameters): the outputs [N, C] of `model` in its current mode (train or eval).

    has_series: whether a Taylor series through the model is possible (`sobench.objective.taylor.series`). True until an
    operation without a rule is met.
    interacts: whether samples interact other than through BatchNorm (a mean over the batch, `F.batch_norm`). None until
    `per_sample.separable` has compared them.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        self.space = ParameterSpace(model.named_parameters())
        self._normalisers = [m for m in model.modules() if isinstance(m, BatchNorm)]
        self._droppers = [m for m in model.modules() if _drops(m)]
        self._sparse = [m for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.sparse]
        self._places = _places(model, self.space.parameters)
        self._frozen = tuple(p for p in model.parameters() if not p.requires_grad)
        self._draws = _DRAWS.setdefault(model, {})
        self.interacts: bool | None = None
        self.has_series = True
        self._has_buffers = next(model.buffers(), None) is not None

    @cached_property
    def matrices(self) -> LayerMatrices:
        """theta as one matrix per layer. Raises Unsupported for a layer that has no matrix of its own."""
        return LayerMatrices(self.model, self.space)

    @cached_property
    def layers(self) -> dict[str, nn.Module]:
        """The modules that `record()` observes. Cached, because the search is slow against a step of a millisecond."""
        return with_parameters(self.model)

    @property
    def couples_samples(self) -> bool:
        """Whether the output of a sample depends on the rest of the batch: BatchNorm without running statistics."""
        return any(m.training or m.running_mean is None for m in self._normalisers)

    @property
    def draws_noise(self) -> bool:
        """Whether a pass draws random numbers: dropout in training mode, or what `draws_on` has found."""
        return any(m.training for m in self._droppers) or self._draws.get(self.model.training, False)

    @property
    def writes_buffers(self) -> bool:
        """Whether a pass of the model itself may write its buffers."""
        return self._has_buffers and self.model.training

    @property
    def separable(self) -> bool:
        """Whether the output of a sample depends only on that sample and the parameters."""
        return not (self.couples_samples or self.draws_noise or self.interacts)

    def draws_on(self, inputs: Tensor) -> bool:
        """Whether a pass draws random numbers in this mode: by a dropout layer, or as the state of the generator shows.

        The first call for a model and a mode makes a pass over two samples that is not metered.
        """
        if self.draws_noise:
            return True
        if self.model.training not in self._draws:
            self._draws[self.model.training] = self._moves_generator(inputs[:2])
        return self._draws[self.model.training]

    @torch.no_grad()
    def _moves_generator(self, inputs: Tensor) -> bool:
        device = self.space.parameters[0].device if self.space.parameters else inputs.device
        with seeded(0, device) as generator:
            before = generator.get_state()
            try:
                self(inputs)
            except Exception:  # the first real pass raises it
                return False
            return not torch.equal(before, generator.get_state())

    def clear_gradients(self) -> None:
        """Set every `.grad` to None, also those of parameters that are not trained: an optimizer skips these then."""
        for p in (*self.space.parameters, *self._frozen):
            p.grad = None

    def __call__(
        self,
        inputs: Tensor,
        parameters: tuple[Tensor, ...] | None = None,
        buffers: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """The outputs [N, C] at `parameters`, one tensor each in the order of `space`; None: those of the model.

        The buffers of the model are only read. A pass in training mode writes into copies of them: `buffers`, if given.
        """
        if parameters is None and not self.writes_buffers:
            with _dense_gradients(self._sparse) if self._sparse else _AS_IT_IS:
                return at_least_single(self.model(inputs))
        state = self.state(self.space.parameters if parameters is None else parameters)
        if self.writes_buffers:
            state |= self.buffers() if buffers is None else buffers
        return self.call(state, inputs)

    def call(self, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """The outputs [N, C], at least in float32, with these parameters and buffers in place of those of the model."""
        with _dense_gradients(self._sparse) if self._sparse else _AS_IT_IS:
            return at_least_single(functional_call(self.model, state, (inputs,), tie_weights=False))

    def state(self, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
        """{name: tensor} for `functional_call`, from one tensor for each parameter; a shared one has several names."""
        parameters = self.space.rounded(parameters)
        return {name: parameters[index] for name, index in self._places.items()}

    def buffers(self) -> dict[str, Tensor]:
        """Copies of the buffers of the model (the running statistics of BatchNorm), by name."""
        return {name: b.clone() for name, b in self.model.named_buffers()}

    @torch.no_grad()
    def write(self, buffers: dict[str, Tensor]) -> None:
        """Write values, by name, into the buffers of the model."""
        for name, b in self.model.named_buffers():
            b.copy_(buffers[name])

    def complex(self, inputs: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
        """The outputs [N, C] at complex parameters, for real inputs. Raises Unsupported for a layer without one."""
        entered: list[tuple[str, nn.Module]] = []
        handles = [
            module.register_forward_pre_hook(lambda module, _, name=name: entered.append((name, module)))
            for name, module in self.model.named_modules()
            if next(module.children(), None) is None
        ]
        try:
            if inputs.is_floating_point():
                inputs = inputs.to(parameters[0].dtype.to_real())
            with ComplexFunctions():
                return self(inputs, parameters)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # NotImplementedError is a subclass
            where = "{} ({})".format(*entered[-1]) if entered else type(self.model).__name__
            raise Unsupported(f"no complex pass through {where}: {str(error).splitlines()[0]}") from error
        finally:
            for handle in handles:
                handle.remove()

    def check_complex(self) -> None:
        """Check that complex passes have the precision of the parameters. Raises Unsupported for a rounded model."""
        if self.space.is_rounded:
            types = ", ".join(sorted({str(p.dtype).removeprefix("torch.") for p in self.space.parameters}))
            raise Unsupported(f"no complex pass through parameters in {types}; allowed: all in float32, or in float64")

    def noise(self, seed: int) -> AbstractContextManager[object]:
        """A context in which dropout draws its masks from `seed`. The global random state is unchanged afterwards."""
        return seeded(seed, self.space.parameters[0].device)


def _places(model: nn.Module, parameters: tuple[Tensor, ...]) -> dict[str, int]:
    """{name: index into `parameters`} of every attribute that holds one of them.

    A parameter that two modules share has two names. A module that is registered twice has one: `functional_call` would
    replace its parameters twice, and take the first replacement for the original when it puts them back.
    """
    index = {id(p): i for i, p in enumerate(parameters)}
    return {
        f"{prefix}.{name}" if prefix else name: index[id(p)]
        for prefix, module in model.named_modules()
        for name, p in module.named_parameters(recurse=False, remove_duplicate=False)
        if id(p) in index
    }


@contextmanager
def _dense_gradients(embeddings: Sequence[nn.Embedding | nn.EmbeddingBag]) -> Generator[None]:
    """A context in which embeddings have dense gradients, which a flat vector and curvature products need."""
    for module in embeddings:
        module.sparse = False
    try:
        yield
    finally:
        for module in embeddings:
            module.sparse = True


def _drops(module: nn.Module) -> bool:
    """Whether a module draws random numbers in training mode."""
    if isinstance(module, nn.RReLU):
        return True
    dropout = module.p if isinstance(module, Dropout) else getattr(module, "dropout", 0.0)
    return isinstance(dropout, float) and dropout > 0


@contextmanager
def seeded(seed: int, device: torch.device) -> Generator[torch.Generator]:
    """A context in which torch's global generator of `device` starts from `seed`. Its state is restored afterwards."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if cuda else []):
        generator = torch.cuda.default_generators[device.index] if cuda else torch.default_generator
        generator.manual_seed(seed)  # torch.manual_seed would seed every device
        yield generator
