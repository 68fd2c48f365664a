"""The forward pass of an objective at the model's own parameters, kept with its graph while it holds; and its dropout masks."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from sobench.objective.cost import Cost
from sobench.objective.forward_pass import Pass
from sobench.objective.network import Network
from sobench.objective.parameter_space import ParameterSpace

_SILENCE = nullcontext()


class KeptPass:
    """A part of `sobench.objective.Objective`, which has the batch, the loss and the meter."""

    network: Network
    space: ParameterSpace
    cost: Cost

    def _pass(self, at: Tensor | None) -> Pass:
        """A forward pass with its graph; at the model's own parameters it is kept until one of them is written."""
        versions = self.network.model.training, *((p._version, p.data_ptr()) for p in self.space.parameters)
        if at is None:
            if self._kept is not None and self._kept[1] == versions:
                return self._kept[0]
            self._forget()
        leaves = None if at is None else tuple(p.detach().requires_grad_() for p in self.space.unflatten(at))
        buffers = self.network.buffers() if self.network.writes_buffers else None
        with torch.enable_grad(), self._noise():
            outputs = self.network(self.batch.inputs, leaves, buffers)
        self.cost.forward(len(self))
        made = Pass(self.space, self.loss_function, outputs, leaves or self.space.parameters, self.cost)
        if at is None:
            self._kept = (made, versions)
            self._statistics = self._statistics or buffers
        return made

    def _known_gradient(self, at: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]] | None:
        """The gradient that `hessian()` has already formed on the kept pass."""
        return self._differentiated if at is None else None

    def _forget(self) -> None:
        """Drop the kept forward pass and the kept differentiable gradient, with their graphs."""
        self._kept: tuple[Pass, tuple] | None = None
        self._differentiated: tuple[Tensor, tuple[Tensor, ...]] | None = None

    def _noise(self):
        """Dropout draws the same mask in every pass on this batch."""
        if not self.network.draws_noise:
            return _SILENCE
        if self._noise_seed is None:  # the model was put in training mode after this objective was made
            self._noise_seed = self._new_noise_seed()
        return self.network.noise(self._noise_seed)

    def _new_noise_seed(self) -> int | None:
        """The step's; outside the harness torch's global random state moves on, as it does for torch's own dropout."""
        if not self.network.draws_noise:
            return None
        return int(torch.randint(2**62, ())) if self.streams is None else self.streams.entropy("dropout")
