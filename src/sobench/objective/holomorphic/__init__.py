"""Passes at complex parameters: the analytic extensions of layers, activations and losses."""
