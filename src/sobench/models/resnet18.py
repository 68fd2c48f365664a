"""ResNet-18 as torchvision has it (He et al., table 1): 7x7 convolution, max-pooling, four stages of two blocks, 512 channels.

Kernel SGD, section 4.1: "ResNet-18", last hidden width 512, "the default settings in Pytorch", on images of 32x32 pixels. So it
is not changed for small ones, of which the last stage sees a single pixel. Initialisation: torchvision's, weights=None.
"""

from __future__ import annotations

from collections.abc import Sequence

import torchvision
from torch import nn

from sobench.errors import UsageError


def resnet18(input_shape: Sequence[int], outputs: int) -> nn.Module:
    """Raises UsageError unless inputs are images of three channels."""
    if len(input_shape) != 3 or input_shape[0] != 3:
        shape = "x".join(map(str, input_shape))
        raise UsageError(f"model: resnet18 takes colour images, got inputs {shape}; allowed: 3 x height x width")
    return torchvision.models.resnet18(weights=None, num_classes=outputs)
