"""Linear algebra on tensors: pure functions that know nothing of networks."""

from sobench.linalg.dense import Solution, solve_symmetric
from sobench.linalg.krylov import CGResult, cg, cgls
from sobench.linalg.operator import LinearOperator

__all__ = ["CGResult", "LinearOperator", "Solution", "cg", "cgls", "solve_symmetric"]
