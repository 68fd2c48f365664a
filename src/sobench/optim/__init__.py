"""Second-order optimizers, one file for each method; a `step` reads like the algorithm box of its paper."""
