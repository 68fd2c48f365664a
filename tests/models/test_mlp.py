"""The autoencoders of the thesis's table 2.4: widths, activations, and the linear code layer."""

import pytest
import torch
import yaml
from torch import nn

from sobench.config import files
from sobench.models.mlp import autoencoder

TABLE = {
    "mnist": ([784, 1000, 500, 250, 30, 250, 500, 1000, 784], "binary_cross_entropy"),
    "faces": ([625, 2000, 1000, 500, 30, 500, 1000, 2000, 625], "squared_error"),
    "curves": ([784, 400, 200, 100, 50, 25, 6, 25, 50, 100, 200, 400, 784], "binary_cross_entropy"),
}


@pytest.mark.parametrize("name", TABLE)
def test_table_2_4(name):
    widths, loss = TABLE[name]
    file = yaml.safe_load((files.conf_dir() / f"model/{name}_autoencoder.yaml").read_text())
    assert file.pop("name") == "autoencoder" and file.pop("loss") == loss and file.pop("target") == "input"
    model = autoencoder((widths[0],), widths[-1], **file)
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    assert [linear[0].in_features, *(layer.out_features for layer in linear)] == widths
    layers = [*model, None]
    followed = [isinstance(after, nn.ReLU) for layer, after in zip(layers, layers[1:]) if isinstance(layer, nn.Linear)]
    middle = len(widths) // 2 - 1
    assert followed == [i not in (middle, len(linear) - 1) for i in range(len(linear))], (
        "ReLU but after the code and the end"
    )
    assert model(torch.zeros(2, widths[0])).shape == (2, widths[-1])
