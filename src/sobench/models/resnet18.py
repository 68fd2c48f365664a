"""ResNet-18 of torchvision (He et al., table 1): 7x7 convolution, max-pooling, four stages of two blocks, 512 channels.

Kernel SGD, section 4.1, names "ResNet-18", last hidden width 512, "the default settings in Pytorch", on images of 32x32
pixels. Therefore the network is not changed for small images, of which the last stage sees a single pixel.
Initialisation: torchvision's, weights=None.
"""

from __future__ import annotations

from collections.abc import Sequence

import torchvision
from torch import nn

from sobench.errors import UsageError


def resnet18(input_shape: Sequence[int], outputs: int) -> nn.Module:
    """ResNet-18: images [N, 3, H, W] to outputs [N, outputs]. Raises UsageError unless images have three channels."""
    if len(input_shape) != 3 or input_shape[0] != 3:
        shape = "x".join(map(str, input_shape))
        raise UsageError(f"model: resnet18 takes colour images, got inputs {shape}; allowed: 3 x height x width")
    return torchvision.models.resnet18(weights=None, num_classes=outputs)
