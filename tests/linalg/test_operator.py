"""Tests of LinearOperator against its matrix."""

import pytest
import torch

from sobench.errors import UsageError
from sobench.linalg import LinearOperator

SIZE = 7


@pytest.fixture
def matrix():
    A = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return A + A.T


def operator(matrix, *, matmat):
    def vector_product(v):
        assert v.dim() == 1
        return matrix @ v

    many = (lambda V: matrix @ V) if matmat else None
    return LinearOperator(vector_product, SIZE, matmat=many, dtype=matrix.dtype, device=matrix.device)


@pytest.mark.parametrize("matmat", [True, False], ids=["matmat", "matvec"])
@pytest.mark.parametrize("shift", [0, 2.5, torch.tensor(2.5)], ids=["none", "float", "tensor"])
@pytest.mark.parametrize("shape", [(SIZE,), (SIZE, 1), (SIZE, 4)], ids=str)
def test_product(matrix, matmat, shift, shape):
    A, v = operator(matrix, matmat=matmat) + shift, torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(A @ v, (matrix + float(shift) * torch.eye(SIZE)) @ v, rtol=1e-13, atol=1e-13)
    assert (A @ v).dtype == torch.float64


@pytest.mark.parametrize("matmat", [True, False], ids=["matmat", "matvec"])
@pytest.mark.parametrize("chunk", [1, 3, SIZE, 100])
def test_dense(matrix, matmat, chunk):
    A = operator(matrix, matmat=matmat)
    assert A.dense(chunk).equal(matrix)
    torch.testing.assert_close((A + 0.5).dense(chunk), matrix + 0.5 * torch.eye(SIZE), rtol=1e-15, atol=1e-15)
    assert A.shape == (SIZE, SIZE) and A.dtype == torch.float64 and A.device.type == "cpu"


def test_dense_asks_for_no_more_than_a_chunk_of_products(matrix):
    widths = []

    def matmat(V):
        widths.append(V.shape[1])
        return matrix @ V

    LinearOperator(None, SIZE, matmat=matmat, dtype=matrix.dtype, device="cpu").dense(chunk=3)
    assert widths == [3, 3, 1]


def test_shifts_add_up_and_leave_the_operator_alone(matrix):
    A = operator(matrix, matmat=True)
    shifted = 3 + (A + 1.0) + torch.tensor(0.5, dtype=torch.float64)
    torch.testing.assert_close(shifted.dense(), matrix + 4.5 * torch.eye(SIZE), rtol=1e-14, atol=1e-14)
    assert A.dense().equal(matrix)


def test_a_shift_asks_for_no_product_and_does_not_write_on_one(matrix):
    calls = []
    A = LinearOperator(lambda v: calls.append(v) or v, SIZE, dtype=matrix.dtype, device="cpu") + 2.0
    assert not calls
    v = torch.ones(SIZE, dtype=torch.float64)
    assert (A @ v).equal(3 * v) and v.equal(torch.ones_like(v)) and len(calls) == 1


@pytest.mark.parametrize("shape", [(SIZE + 1,), (4, SIZE), (), (SIZE, 2, 2)], ids=str)
def test_wrong_vectors_are_refused(matrix, shape):
    with pytest.raises(UsageError, match=rf"an operator on R\^{SIZE} multiplies"):
        operator(matrix, matmat=True) @ torch.ones(shape, dtype=torch.float64)


@pytest.mark.parametrize("lam", [torch.ones(SIZE), "1", None], ids=["vector", "str", "None"])
def test_only_scalars_shift(matrix, lam):
    with pytest.raises(TypeError):
        operator(matrix, matmat=True) + lam
