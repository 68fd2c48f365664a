"""Work counters: the only place that counts the work which an optimizer requests from the objective."""

from __future__ import annotations

from dataclasses import dataclass, field

FORWARD, BACKWARD, PRODUCT = 1, 2, 4
"""Cost per sample, in forward passes. A backward pass takes two products per layer, a forward pass one. A product with
a linearised Hessian or Gauss-Newton matrix differentiates both (Pearlmutter 1994): twice the backward pass."""

COMPLEX, DUAL = 4, 3
"""Factors of the cost. A product of complex numbers takes four real products. A product of dual numbers,
(a + a't)(b + b't) = ab + (a'b + ab')t, takes three."""

COUNTERS = ("forwards", "backwards", "products", "samples", "passes")
"""The counters of a `Cost`, in the order of the record."""


@dataclass
class Cost:
    """The work done so far.

    forwards, backwards: the number of passes.
    products: the number of curvature products.
    samples: the samples of all forward passes.
    passes: the cost of everything, in forward passes of one sample.
    used: the names of the oracles that were called.
    """

    forwards: int = 0
    backwards: int = 0
    products: int = 0
    samples: int = 0
    passes: int = 0
    used: set[str] = field(default_factory=set)

    def forward(self, samples: int, scale: int = 1) -> None:
        """Count a forward pass of `samples` samples, at `scale` times the usual cost."""
        self.forwards += 1
        self.samples += samples
        self.passes += FORWARD * samples * scale

    def backward(self, samples: int, scale: int = 1) -> None:
        """Count a backward pass, at `scale` times the usual cost."""
        self.backwards += 1
        self.passes += BACKWARD * samples * scale

    def propagation(self, samples: int, columns: int = 1) -> None:
        """Count a backward pass to the outputs of the layers only, one product per layer, for each of `columns`."""
        self.backwards += 1
        self.passes += FORWARD * samples * columns

    def accumulation(self, samples: int) -> None:
        """Count the other product per layer, from the outputs of the layers to their parameters."""
        self.passes += (BACKWARD - FORWARD) * samples

    def product(self, samples: int, columns: int = 1) -> None:
        """Count a product of a linearised Hessian or Gauss-Newton matrix with each of `columns` vectors."""
        self.products += columns
        self.passes += PRODUCT * samples * columns

    def third(self, samples: int, columns: int) -> None:
        """Count a third derivative, a backward pass through a product, for each of `columns`."""
        self.passes += 2 * PRODUCT * samples * columns

    def jets(self, samples: int, columns: int) -> None:
        """Count the first and second derivatives of a forward pass along each of `columns` directions."""
        self.products += columns
        self.passes += 2 * FORWARD * samples * columns

    def work(self, training_samples: int) -> float:
        """The work in gradient-equivalent epochs: 1.0 is one gradient for every training sample."""
        return self.passes / ((FORWARD + BACKWARD) * training_samples)

    def counts(self) -> dict[str, int]:
        """The counters without `used`, for a record or a checkpoint."""
        return {key: getattr(self, key) for key in COUNTERS}
