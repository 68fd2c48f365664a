"""LeNet-5 (LeCun, Bottou, Bengio and Haffner, 1998) in its present form: two convolutions and three linear layers.

    5x5 convolution to 6 channels, pooling, 5x5 convolution to 16, pooling, linear to 120, to 84, to the outputs

An activation follows each layer but the last, before pooling. csfd uses sigmoid and average pooling. groupednewton
gives "2 convolutional layers of sizes 6, 16, and 3 fully connected layers of sizes 120, 84, 10". Images of 28x28 pixels
are padded by 2 in the first convolution, because the network was made for 32x32. The original's trained pooling,
partial connections and radial basis outputs are left out, as in both papers. Initialisation: torch's default, unless
`init` changes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sobench.errors import UsageError
from sobench.models.activations import activation as named

POOLING = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}


def lenet(input_shape: Sequence[int], outputs: int, *, activation: str, pooling: str) -> nn.Sequential:
    """LeNet-5: images [N, C, 28, 28] or [N, C, 32, 32] to outputs [N, outputs].

    activation: a name of ACTIVATIONS. pooling: average or max, over 2x2 pixels. Raises UsageError for inputs of another
    shape and for an unknown pooling or activation.
    """
    if len(input_shape) != 3 or tuple(input_shape[1:]) not in ((28, 28), (32, 32)):
        shape = "x".join(map(str, input_shape))
        raise UsageError(
            f"model: lenet takes images, got inputs {shape}; allowed: channels x 28 x 28 or channels x 32 x 32"
        )
    if pooling not in POOLING:
        raise UsageError(f"model.pooling: got {pooling!r}, allowed: {' | '.join(POOLING)}")
    pool = POOLING[pooling]
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 6, 5, padding=(32 - input_shape[1]) // 2),
        named(activation),
        pool(2),
        nn.Conv2d(6, 16, 5),
        named(activation),
        pool(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        named(activation),
        nn.Linear(120, 84),
        named(activation),
        nn.Linear(84, outputs),
    )
