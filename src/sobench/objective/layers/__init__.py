"""What a layer saw in a pass, as matrices and as rows of per-sample gradients: the mathematics that preconditioners of one layer share."""

from sobench.objective.layers.matrices import (
    LayerMatrices,
    grad_factor,
    input_action,
    input_factor,
    inputs,
    locations,
    mean_input,
    output_grads,
    outputs,
    patches,
    sample_grads,
    to_outputs,
    weight_gradient_,
)
from sobench.objective.layers.records import LayerRecord, recording, unrecorded, with_parameters
from sobench.objective.layers.rows import LayerRows

__all__ = [
    "LayerMatrices",
    "LayerRecord",
    "LayerRows",
    "grad_factor",
    "input_action",
    "input_factor",
    "inputs",
    "locations",
    "mean_input",
    "output_grads",
    "outputs",
    "patches",
    "recording",
    "sample_grads",
    "to_outputs",
    "unrecorded",
    "weight_gradient_",
    "with_parameters",
]
