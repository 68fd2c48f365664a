"""Passes at complex parameters: the analytic extension of layers, activations and losses."""
