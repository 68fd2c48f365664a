"""A model as a pure function of its parameters and inputs: passes write no buffer and draw no global random number."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.hooks import RemovableHandle

from sobench.errors import SobenchError, Unsupported, UsageError
from sobench.objective.holomorphic.mode import ComplexFunctions
from sobench.objective.layers.matrices import LayerMatrices
from sobench.objective.layers.records import described, with_parameters
from sobench.objective.parameter_space import ParameterSpace
from sobench.objective.precision import LOW, at_least_single
from sobench.objective.torch_private import BatchNorm, Dropout

_FACTS: WeakKeyDictionary[nn.Module, dict[tuple[str, bool], bool]] = WeakKeyDictionary()
"""{model: {(what, training mode): whether it is so}}, as far as passes of the model have shown it."""


class Network:
    """z = network(inputs, parameters): the outputs [N, C] of `model` in its current mode (train or eval).

    A pass raises Unsupported for a model that returns anything else than one tensor [N, ...]. The gradient of an
    embedding is dense in every pass, also with `sparse=True`.

    eps: the precision of a pass: the coarsest of those of the parameters, and of the outputs that it had so far.
    interacts: whether samples interact other than through BatchNorm (a mean over the batch, `F.batch_norm`). None until
    `per_sample.separable` has compared them.
    """

    def __init__(self, model: nn.Module):
        if isinstance(model, nn.parallel.DistributedDataParallel):
            raise UsageError(
                "DistributedDataParallel averages the gradients of backward() alone; allowed: model.module"
            )
        self.model = model
        self.space = ParameterSpace(model.named_parameters())
        self._functional = _Holder(model) if isinstance(model, (torch.jit.ScriptModule, nn.DataParallel)) else model
        self._normalisers = [m for m in model.modules() if isinstance(m, BatchNorm)]
        self._droppers = [m for m in model.modules() if _drops(m)]
        self._places = _places(model, self.space.parameters)
        self._frozen = tuple(p for p in model.parameters() if not p.requires_grad)
        self._sparse = [m for m in model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag)) and m.sparse]
        self._facts = _FACTS.setdefault(model, {})
        self.differentiates_gradients = False
        """Whether the closure assigns gradients that have a graph."""
        self.interacts: bool | None = None
        self.eps = max(torch.finfo(p.dtype).eps for p in self.space.parameters)
        self._has_buffers = next(model.buffers(), None) is not None

    @cached_property
    def matrices(self) -> LayerMatrices:
        """theta as one matrix per layer. Raises Unsupported for a layer that has no matrix of its own."""
        return LayerMatrices(self.model, self.space)

    @cached_property
    def layers(self) -> dict[str, nn.Module]:
        """The modules that `record()` observes. Cached, because the search is slow against a step of a millisecond.

        Raises Unsupported for a torch.jit module, whose calls cannot be observed.
        """
        layers = with_parameters(self.model)
        for name, module in layers.items():
            if isinstance(module, torch.jit.ScriptModule):
                raise Unsupported(
                    f"no record of {name}: it is a torch.jit module; allowed: the module before torch.jit"
                )
        return layers

    @property
    def couples_samples(self) -> bool:
        """Whether the output of a sample depends on the rest of the batch: BatchNorm without running statistics."""
        return any(m.training or m.running_mean is None for m in self._normalisers)

    @property
    def draws_noise(self) -> bool:
        """Whether a pass draws random numbers: dropout in training mode, or what `draws_on` has found."""
        return any(m.training for m in self._droppers) or self.known("noise") is True

    @property
    def writes_buffers(self) -> bool:
        """Whether a pass of the model itself may write its buffers."""
        return self._has_buffers and self.model.training

    @property
    def separable(self) -> bool:
        """Whether the output of a sample depends only on that sample and the parameters."""
        return not (self.couples_samples or self.draws_noise or self.interacts)

    def known(self, what: str) -> bool | None:
        """What earlier passes have shown of the model in its current mode; None if nothing."""
        return self._facts.get((what, self.model.training))

    def learn(self, what: str, value: bool) -> bool:
        """Remember what a pass has shown, for every network of this model. Returns the value."""
        self._facts[what, self.model.training] = value
        return value

    def forget(self, what: str) -> None:
        """Undo `learn`."""
        self._facts.pop((what, self.model.training), None)

    def draws_on(self, inputs: Tensor) -> bool:
        """Whether a pass draws random numbers in this mode: by a dropout layer, or as the state of the generator shows.

        The first call for a model and a mode makes a pass over two samples that is not metered.
        """
        if self.draws_noise:
            return True
        known = self.known("noise")
        return self.learn("noise", self._moves_generator(inputs[:2])) if known is None else known

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
            with self._dense_gradients():
                return self.one_tensor(self.model(inputs))
        state = self.state(self.space.parameters if parameters is None else parameters)
        if self.writes_buffers:
            state |= self.buffers() if buffers is None else buffers
        return self.call(inputs, state)

    def call(self, inputs: Tensor, state: dict[str, Tensor]) -> Tensor:
        """The outputs [N, C] with these tensors in place of parameters and buffers."""
        if self._functional is not self.model:
            state = {f"model.{name}": tensor for name, tensor in state.items()}
        with self._dense_gradients():
            return self.one_tensor(functional_call(self._functional, state, (inputs,), tie_weights=False))

    def one_tensor(self, outputs: Any) -> Tensor:
        """What the model returned, at least in float32. Raises Unsupported unless it is one tensor [N, ...]."""
        if isinstance(outputs, Tensor) and outputs.dim():
            if outputs.dtype in LOW:
                self.eps = max(self.eps, torch.finfo(outputs.dtype).eps)
            return at_least_single(outputs)
        raise Unsupported(f"{type(self.model).__name__} returns {_kind(outputs)}; allowed: one tensor [N, ...]")

    def _dense_gradients(self) -> AbstractContextManager[object]:
        """A context in which the gradients of embeddings are dense."""
        return _with_dense_gradients(self._sparse) if self._sparse else nullcontext()

    def state(self, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
        """{name: tensor} for `functional_call`, from one tensor for each parameter; a shared one has several names."""
        if self.space.mixed:  # parts of a flat vector have the widest precision
            complex_pass = parameters[0].is_complex()
            dtypes = [p.dtype.to_complex() if complex_pass else p.dtype for p in self.space.parameters]
            parameters = [p.to(dtype) for p, dtype in zip(parameters, dtypes)]
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
        """The outputs [N, C] at complex parameters, for real inputs.

        Raises Unsupported for a layer without a complex form, and for parameters in float16 or bfloat16.
        """
        low = sorted({str(p.dtype).removeprefix("torch.") for p in self.space.parameters if p.dtype in LOW})
        if low:
            raise Unsupported(f"no complex pass through parameters in {', '.join(low)}; allowed: float32 or float64")
        running: list[tuple[str, nn.Module]] = []
        handles: list[RemovableHandle] = []
        for name, module in self.model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):  # which takes no hooks
                enter = lambda module, _, name=name: running.append((name, module))
                handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(_leave(running))]
        try:
            if inputs.is_floating_point():
                inputs = inputs.to(parameters[0].dtype.to_real())
            with ComplexFunctions():
                outputs = self(inputs, parameters)
            return outputs if outputs.is_complex() else outputs.to(parameters[0].dtype)
        except (torch.OutOfMemoryError, SobenchError):
            raise
        except Exception as error:  # torch has a dozen words for a type that a function does not take
            where = described(*running[-1]) if running else type(self.model).__name__
            raise Unsupported(f"no complex pass through {where}: {str(error).splitlines()[0]}") from error
        finally:
            for handle in handles:
                handle.remove()

    def noise(self, seed: int) -> AbstractContextManager[object]:
        """A context in which dropout draws its masks from `seed`. The global random state is unchanged afterwards."""
        return seeded(seed, self.space.parameters[0].device)


class _Holder(nn.Module):
    """The model as a submodule: `functional_call` takes a torch.jit module or a DataParallel only inside another."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Any:
        return self.model(inputs)


def _leave(running: list[tuple[str, nn.Module]]) -> Callable[..., None]:
    """A forward hook that takes the last module off `running`."""

    def hook(module: nn.Module, args: Any, outputs: Any) -> None:
        running.pop()

    return hook


def _kind(outputs: Any) -> str:
    """What a model returned, for a message."""
    if isinstance(outputs, Tensor):
        return f"a tensor of shape {list(outputs.shape)}"
    if isinstance(outputs, Mapping):
        return f"a {type(outputs).__name__} with the keys {', '.join(map(str, outputs))}"
    if isinstance(outputs, (tuple, list)):
        return f"a {type(outputs).__name__} of {len(outputs)}"
    return "None" if outputs is None else f"a {type(outputs).__name__}"


@contextmanager
def _with_dense_gradients(sparse: list[nn.Embedding | nn.EmbeddingBag]) -> Generator[None]:
    """A context in which these modules make dense gradients."""
    for module in sparse:
        module.sparse = False
    try:
        yield
    finally:
        for module in sparse:
            module.sparse = True


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
