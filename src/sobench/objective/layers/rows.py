"""Rows of per-sample gradients, layer by layer, without forming them.

A row of U [N K, P] is the gradient of one of K scalars of a sample n. Its part for a layer W [I, D] is sum_t h_t a_t'.
a_t [D] is the input of the layer for that sample at location t, and h_t [I] is the gradient of the scalar in the output
of the layer (notation of `layers.matrices`). Rows are ordered by sample, then by scalar: (n, k). With g = sum_mu e_mu
a_mu', a gradient of the whole batch,

    U_l U_l'   entries (n k, m j) = sum_{t,u} (a_nt' a_mu) (h_nkt' h_mju)
    U_l g_l    entries (n k)      = sum_t h_nkt' sum_{m,u} e_mu (a_mu' a_nt)
    U_l' d     = sum_{n,t} (sum_k d_nk h_nkt) a_nt'                  so it is given by gradients at the outputs, as g is

(Y. Ren, thesis, sections 5.3.3 and 5.4.7). A sum over pairs of locations costs |T|^2 (I + D) per pair of rows, the
product of two gradients I D. The cheaper one is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sobench.errors import Unsupported
from sobench.linalg.kronecker import gram
from sobench.objective.layers.matrices import LayerMatrices, by_location, patches, to_outputs, weight_gradient_
from sobench.objective.layers.records import LayerRecord, recorded_output_grads

CHUNK = 2**24
"""The number of entries of rows that are formed at once, if rows are formed."""


@dataclass(frozen=True)
class _Part:
    """The part of U for one layer: a [N, |T|, D] without the 1 of a bias, and h [N, K, |T|, I]."""

    record: LayerRecord
    a: Tensor
    h: Tensor
    has_bias: bool
    weight_shape: torch.Size


class LayerRows:
    """U [N K, P] for the samples `index` [N] (None: all) of a recorded batch.

    rows: {layer: h [N, K, ...]}, with the shape of the outputs of the layer after K. Layers that are not in `rows` are
    left out. The columns of parameters that belong to no layer are zero. Raises Unsupported without a layer.
    """

    def __init__(
        self,
        matrices: LayerMatrices,
        layers: Mapping[str, LayerRecord],
        rows: Mapping[str, Tensor],
        index: Tensor | None = None,
    ):
        if not rows:
            raise Unsupported(
                "no Linear or Conv2d layer with a trained weight has rows; allowed: at least one in a pass"
            )
        self._matrices, self._index = matrices, index
        self._parts = {name: self._part(name, layers[name], h) for name, h in rows.items()}
        self.samples = len(next(iter(rows.values())))

    def gram(self) -> list[Tensor]:
        """U_l U_l' for every layer, [N K, N K]. Their sum is U U'."""
        return [_gram(part) for part in self._parts.values()]

    def against_gradient(self) -> list[Tensor]:
        """U_l g_l for every layer, [N K], g the recorded gradient. Their sum is U g if all parameters have layers."""
        return [_against(part, _mapped_by_gradient(part)) for part in self._parts.values()]

    def __matmul__(self, v: Tensor) -> list[Tensor]:
        """U_l v_l for every layer, [N K], for v [P]."""
        parts = self._matrices.parts(v)
        return [_against(part, _mapped(part, *parts[name])) for name, part in self._parts.items()]

    def subtracted(self, d: Tensor) -> dict[str, Tensor]:
        """{layer: [samples, ...]}: g - U_1' d_1 - ..., as gradients at the outputs, for d [L, N K] or [1, N K]."""
        parts = zip(self._parts.items(), d.expand(len(self._parts), -1))
        return {name: self._subtracted(part, d_l) for (name, part), d_l in parts}

    def _part(self, name: str, record: LayerRecord, h: Tensor) -> _Part:
        rows = by_location(record, h.flatten(0, 1))
        rows = rows.reshape(*h.shape[:2], *rows.shape[1:])
        return _Part(
            record,
            patches(record, self._index),
            rows,
            self._matrices.has_bias(name),
            self._matrices.weights[name].shape,
        )

    def _subtracted(self, part: _Part, d: Tensor) -> Tensor:
        N, K, T, I = part.h.shape
        s = to_outputs(part.record, torch.bmm(d.view(N, 1, K), part.h.flatten(2)).view(N, T, I))
        e = recorded_output_grads(part.record)
        return e - s if self._index is None else e.index_add(0, self._index, s, alpha=-1)


def _gram(part: _Part) -> Tensor:
    """U_l U_l', [N K, N K]."""
    (N, K, T, I), D = part.h.shape, part.a.shape[2]
    if T > 1 and _rows_are_cheaper(T, I, D):
        return _gram_of_rows(part)
    A, G = gram(part.a.flatten(0, 1).T), gram(part.h.flatten(0, 2).T)
    A, G = A.view(N, 1, T, N, 1, T), G.view(N, K, T, N, K, T)
    G = G.addcmul_(G, A) if part.has_bias else G.mul_(A)  # (A + 1) G, with the 1s of the bias
    return (G if T == 1 else G.sum((2, 5))).view(N * K, N * K)


def _rows_are_cheaper(T: int, I: int, D: int) -> bool:
    """Whether forming the gradients costs less than the sum over pairs of locations."""
    return T * T * (I + D) > I * D


def _gram_of_rows(part: _Part) -> Tensor:
    """U_l U_l', [N K, N K], from the gradients themselves, some rows of W at a time."""
    (N, K, _, _), D = part.h.shape, part.a.shape[2]
    G = gram(part.h.sum(2).flatten(0, 1).T) if part.has_bias else part.h.new_zeros(N * K, N * K)
    for h in part.h.split(max(1, CHUNK // (N * K * D)), dim=3):
        gram(torch.einsum("nkti,ntd->nkid", h, part.a).reshape(N * K, -1).T, G, beta=1.0)
    return G


def _mapped_by_gradient(part: _Part) -> Tensor:
    """g_l a_nt, [N, |T|, I]. For a single location g_l [I, D] is not formed."""
    record, (N, T, D), I = part.record, part.a.shape, part.h.shape[3]
    e = recorded_output_grads(record)
    if T == 1:
        e = e.reshape(-1, I)
        A = part.a.reshape(N, D) @ patches(record).reshape(-1, D).T
        return ((A + 1 if part.has_bias else A) @ e).unsqueeze(1)
    weight, bias = e.new_empty(part.weight_shape), e.new_empty(I) if part.has_bias else None
    weight_gradient_(record, e, weight, bias)
    return _mapped(part, weight, bias)


def _mapped(part: _Part, weight: Tensor, bias: Tensor | None) -> Tensor:
    """V a_nt, [N, |T|, I], for V as a weight and a bias."""
    return F.linear(part.a, weight.flatten(1), bias)


def _against(part: _Part, u: Tensor) -> Tensor:
    """sum_t h_nkt' u_nt, [N K], for u [N, |T|, I]."""
    return torch.bmm(part.h.flatten(2), u.flatten(1).unsqueeze(2)).flatten()
