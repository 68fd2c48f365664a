"""The meter: all work an optimizer asks of the objective is counted here, and only here."""

from __future__ import annotations

from dataclasses import dataclass, field

FORWARD, BACKWARD, PRODUCT = 1, 2, 4
"""Cost per sample in forward passes. A backward pass is two products per layer where the forward is one; a product
with a linearised Hessian or Gauss-Newton matrix differentiates both (Pearlmutter 1994): twice the backward."""

COMPLEX, DUAL = 4, 3
"""A product of complex numbers is four real ones; one of dual numbers, (a + a't)(b + b't) = ab + (a'b + ab')t, is three."""

COUNTERS = ("forwards", "backwards", "products", "samples", "passes")


@dataclass
class Cost:
    """Passes made, and the samples they touched. `used` names the oracles that were asked."""

    forwards: int = 0
    backwards: int = 0
    products: int = 0
    samples: int = 0
    passes: int = 0
    used: set[str] = field(default_factory=set)

    def forward(self, samples: int, scale: int = 1) -> None:
        self.forwards += 1
        self.samples += samples
        self.passes += FORWARD * samples * scale

    def backward(self, samples: int, scale: int = 1) -> None:
        self.backwards += 1
        self.passes += BACKWARD * samples * scale

    def propagation(self, samples: int, columns: int = 1) -> None:
        """A backward pass to the layers' outputs alone: one of its two products per layer, for each of `columns`."""
        self.backwards += 1
        self.passes += FORWARD * samples * columns

    def accumulation(self, samples: int) -> None:
        """From the layers' outputs to their parameters: the other one."""
        self.passes += (BACKWARD - FORWARD) * samples

    def product(self, samples: int, columns: int = 1) -> None:
        self.products += columns
        self.passes += PRODUCT * samples * columns

    def third(self, samples: int, columns: int) -> None:
        """A third derivative: a backward pass through a product, for each of `columns`."""
        self.passes += 2 * PRODUCT * samples * columns

    def jets(self, samples: int, columns: int) -> None:
        """First and second derivatives of a forward pass along each of `columns` directions."""
        self.products += columns
        self.passes += 2 * FORWARD * samples * columns

    def work(self, training_samples: int) -> float:
        """Work in gradient-equivalent epochs: 1.0 is one gradient of every training sample."""
        return self.passes / ((FORWARD + BACKWARD) * training_samples)

    def counts(self) -> dict[str, int]:
        """The counters alone, for a record or a checkpoint."""
        return {key: getattr(self, key) for key in COUNTERS}
