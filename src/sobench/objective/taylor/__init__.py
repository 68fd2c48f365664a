"""Taylor-mode differentiation through a network, along the groups of a partition of its parameters."""
