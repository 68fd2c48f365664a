"""Reference implementation of layers as matrices: convolutions unfolded by Python loops. Calls nothing of sobench."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def locations(module: nn.Module, x: Tensor) -> Tensor:
    """a_t for every sample and location, [N, T, D]: the inputs of an output location, and 1 for a bias."""
    a = _patches(module, x) if isinstance(module, nn.Conv2d) else x.reshape(len(x), -1, x.shape[-1])
    if module.bias is None:
        return a
    return torch.cat([a, torch.ones(*a.shape[:2], 1, dtype=a.dtype, device=a.device)], 2)


def _patches(conv: nn.Conv2d, x: Tensor) -> Tensor:
    (kh, kw), (sh, sw), (dh, dw) = conv.kernel_size, conv.stride, conv.dilation
    ph, pw = (
        (d * (k - 1) // 2 for k, d in zip(conv.kernel_size, conv.dilation))
        if conv.padding == "same"
        else ((0, 0) if conv.padding == "valid" else conv.padding)
    )
    n, channels, height, width = x.shape
    padded = torch.zeros(n, channels, height + 2 * ph, width + 2 * pw, dtype=x.dtype, device=x.device)
    padded[:, :, ph : ph + height, pw : pw + width] = x
    rows = []
    for i in range(0, padded.shape[2] - dh * (kh - 1), sh):
        for j in range(0, padded.shape[3] - dw * (kw - 1), sw):
            read = [padded[:, c, i + dh * u, j + dw * v] for c in range(channels) for u in range(kh) for v in range(kw)]
            rows.append(torch.stack(read, 1))
    return torch.stack(rows, 1)


def by_location(module: nn.Module, h: Tensor) -> Tensor:
    """The outputs of a layer, [N, ...], with one row per location, [N, T, I]."""
    if not isinstance(module, nn.Conv2d):
        return h.reshape(len(h), -1, h.shape[-1])
    return torch.stack([h[:, :, i, j] for i in range(h.shape[2]) for j in range(h.shape[3])], 1)


@dataclass
class Layer:
    """One layer in a pass, T being the locations of all its calls.

    a: inputs, [N, T, D].
    h: outputs, [N, T, I].
    Dh: [N, T, I], the gradient of N times the mean loss in h. It is the gradient of the loss of each sample, if samples
        are not coupled.
    """

    module: nn.Module
    a: Tensor
    h: Tensor
    Dh: Tensor

    @property
    def Omega(self) -> Tensor:
        """E_n [sum_t a_t a_t'], [D, D]."""
        return sum(torch.outer(a, a) for sample in self.a for a in sample) / len(self.a)

    @property
    def Gamma(self) -> Tensor:
        """E_n [1/T sum_t Dh_t Dh_t'], [I, I]."""
        return sum(torch.outer(g, g) for sample in self.Dh for g in sample) / self.Dh.shape[0] / self.Dh.shape[1]

    @property
    def G(self) -> Tensor:
        """The gradient of each sample in W, [N, I, D]."""
        return torch.stack([sum(torch.outer(g, a) for g, a in zip(gs, As)) for gs, As in zip(self.Dh, self.a)])

    @property
    def fisher(self) -> Tensor:
        """E_n [vec(G) vec(G)'], [I D, I D], row-major."""
        return sum(torch.outer(g, g) for g in self.G.flatten(1)) / len(self.G)


def layers(
    model: nn.Module, mean_loss: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor
) -> dict[str, Layer]:
    """Every Linear and Conv2d layer of a copy of the model, by plain torch. The model itself is left alone."""
    model = copy.deepcopy(model)
    modules = {name: m for name, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))}
    calls = {name: [] for name in modules}
    for name, module in modules.items():
        module.register_forward_hook(lambda _, x, h, name=name: calls[name].append((x[0].detach().clone(), h)))
    loss = mean_loss(model(inputs), targets)
    grads = iter(torch.autograd.grad(loss, [h for seen in calls.values() for _, h in seen]))
    return {name: _layer(modules[name], [(*call, next(grads)) for call in seen]) for name, seen in calls.items()}


def _layer(module: nn.Module, calls: list[tuple[Tensor, Tensor, Tensor]]) -> Layer:
    a = torch.cat([locations(module, x) for x, _, _ in calls], 1)
    h = torch.cat([by_location(module, h.detach()) for _, h, _ in calls], 1)
    return Layer(module, a, h, len(a) * torch.cat([by_location(module, g) for _, _, g in calls], 1))


def matrix(module: nn.Module, weight: Tensor, bias: Tensor | None) -> Tensor:
    """W [I, D] from the weight and bias of a layer, or from their gradients."""
    rows = [
        torch.cat([w.flatten(), b[None]]) if bias is not None else w.flatten()
        for w, b in zip(weight, bias if bias is not None else weight)
    ]
    return torch.stack(rows)
