"""The mathematics of single layers: their inputs and gradients as matrices, and as rows of per-sample gradients.

Methods that precondition one layer at a time share it.
"""

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
from sobench.objective.layers.records import (
    LayerRecord,
    recorded_inputs,
    recorded_output_grads,
    recorded_outputs,
    recording,
    unrecorded,
    with_parameters,
)
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
    "recorded_inputs",
    "recorded_output_grads",
    "recorded_outputs",
    "recording",
    "sample_grads",
    "to_outputs",
    "unrecorded",
    "weight_gradient_",
    "with_parameters",
]
