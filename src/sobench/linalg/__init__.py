"""Linear algebra on tensors: functions that do not depend on networks or losses."""

from sobench.linalg.dense import Solution, solve_symmetric
from sobench.linalg.krylov import CGResult, cg, cgls
from sobench.linalg.operator import LinearOperator, SupportsMatmul

__all__ = ["CGResult", "LinearOperator", "Solution", "SupportsMatmul", "cg", "cgls", "solve_symmetric"]
