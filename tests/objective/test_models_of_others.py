"""Models that people bring: attention, weight_norm, sparse embeddings, several precisions, torch.jit, odd outputs.

Right values come from plain autograd on the same function written in elementary operations, or from differences.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from forwards import Model
from problems import noise
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations
from twins import COMPLEX, ORACLES, REAL, TWICE, N, compare, objective, refuses

from sobench import Objective
from sobench.errors import Unsupported, UsageError
from sobench.losses import CrossEntropy

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")


def _attended(attention) -> Model:
    """Two positions of two numbers each, embedded, attended to and mapped to classes."""
    torch.manual_seed(0)
    return Model(
        lambda self, x: self.o(attention(self.q(h := self.e(x.view(-1, 2, 2))), self.k(h), h).flatten(1)),
        e=nn.Linear(2, 4),
        q=nn.Linear(4, 4),
        k=nn.Linear(4, 4),
        o=nn.Linear(8, 3),
    ).double()


def _by_hand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of each position to those up to itself."""
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores.masked_fill(torch.ones(2, 2).triu(1).bool(), -math.inf).softmax(-1) @ v


def test_attention():
    """torch's fused kernels have no second derivative."""
    compare(
        lambda: _attended(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)),
        lambda: _attended(_by_hand),
    )


SEEN = torch.ones(2, 2).tril().bool()


@pytest.mark.parametrize(
    "mask", [SEEN, torch.zeros(2, 2).double().masked_fill(~SEEN, -math.inf)], ids=["bool", "added"]
)
def test_masks_of_attention_in_a_complex_pass(mask):
    """With a scale of its own, which the other way has in its queries."""
    compare(
        lambda: _attended(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask, scale=0.3)),
        lambda: _attended(lambda q, k, v: _by_hand(0.3 * math.sqrt(q.shape[-1]) * q, k, v)),
        COMPLEX,
    )


def _dense_products(f: Objective, v: Tensor) -> tuple[Tensor, Tensor]:
    """H v and G v by plain autograd, attention without a fused kernel."""
    parameters, (x, y) = list(f.space.parameters), f.batch
    with sdpa_kernel(SDPBackend.MATH):
        z = f.network.model(x)
    g = f.space.flatten(torch.autograd.grad(F.cross_entropy(z, y), parameters, create_graph=True))
    Hv = f.space.flatten(torch.autograd.grad(g @ v, parameters, retain_graph=True))
    rows = [torch.autograd.grad(e, parameters, retain_graph=True, materialize_grads=True) for e in z.flatten()]
    J = torch.stack([f.space.flatten(row) for row in rows]).view(*z.shape, -1)
    p = z.softmax(1)
    Hz = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    return Hv, torch.einsum("ncp,ncd,ndq,q->p", J, Hz, J, v) / N


ATTENTION = {
    "MultiheadAttention": lambda: nn.MultiheadAttention(4, 2, batch_first=True),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(4, 2, 5, dropout=0.0, batch_first=True),
    "TransformerEncoderLayer, eval": lambda: nn.TransformerEncoderLayer(4, 2, 5, batch_first=True).eval(),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_modules_of_attention(name):
    torch.manual_seed(0)
    layer = ATTENTION[name]()
    attend = lambda self, h: self.r(h, h, h, need_weights=False)[0] if "Multi" in name else self.r(h)
    model = Model(
        lambda self, x: self.o(attend(self, self.e(x.view(-1, 2, 2))).flatten(1)),
        e=nn.Linear(2, 4),
        r=layer,
        o=nn.Linear(8, 3),
    ).double()
    model.train(layer.training)
    f, v = objective(model), noise((sum(p.numel() for p in model.parameters()),), 5)
    Hv, Gv = _dense_products(f, v)
    f.value_and_grad()  # by the fused kernel; its pass does not serve for products
    torch.testing.assert_close(f.hessian() @ v, Hv, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(f.ggn() @ v, Gv, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(f.per_sample_grads().mean(0), f.value_and_grad()[1])
    assert refuses(objective(model), "complex loss", "no complex pass through r")


def test_the_pass_of_products_serves_the_gradient():
    f = objective(_attended(F.scaled_dot_product_attention))
    f.hessian(), f.value_and_grad(), f.ggn()
    assert f.cost.counts()["forwards"] == 1
    f = objective(_attended(F.scaled_dot_product_attention))
    f.value_and_grad(), f.hessian()
    assert f.cost.counts()["forwards"] == 2


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("normalize", [parametrizations.weight_norm, nn.utils.weight_norm])
def test_weight_norm(normalize):
    """torch's own second derivative is wrong: its Hessian is not even symmetric."""

    def make():
        torch.manual_seed(0)
        return nn.Sequential(normalize(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)).double()

    f = objective(make())
    theta, v, h = f.space.get(), noise((f.space.size,), 5), 1e-5
    differences = (f.value_and_grad(theta + h * v)[1] - f.value_and_grad(theta - h * v)[1]) / (2 * h)
    f.value_and_grad()
    for H in (f.hessian(), f.hessian(theta)):
        torch.testing.assert_close(H @ v, differences, rtol=1e-6, atol=1e-8)
    dense = f.hessian().dense()
    torch.testing.assert_close(dense, dense.T, rtol=1e-9, atol=1e-11)


def test_second_derivatives_of_torch_that_are_wrong_are_found(monkeypatch):
    monkeypatch.setattr("sobench.objective.objective.is_fused", lambda outputs: False)
    torch.manual_seed(0)
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)).double()
    assert refuses(objective(model), "hessian", "its Hessian is not symmetric")


# Embeddings


def _embedded(sparse: bool = False, bag: bool = False) -> Model:
    torch.manual_seed(0)
    words = nn.EmbeddingBag(5, 6, sparse=sparse, mode="sum") if bag else nn.Embedding(5, 3, sparse=sparse)
    return Model(
        lambda self, x: self.b(self.e((x[:, :2] > 0).long()).flatten(1).tanh()), e=words, b=nn.Linear(6, 3)
    ).double()


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_sparse_embeddings(l2):
    compare(lambda: _embedded(sparse=True), _embedded, REAL | TWICE)
    model = _embedded(sparse=True)
    f, twin = (Objective(m, CrossEntropy(), objective(m).batch, l2=l2) for m in (model, _embedded()))
    f(), twin()
    assert model.e.sparse and model.e.weight.grad.is_sparse == (l2 == 0)  # as torch's SparseAdam needs it
    torch.testing.assert_close(model.e.weight.grad.to_dense(), twin.network.model.e.weight.grad)


@pytest.mark.parametrize("sparse", [False, True])
def test_bags_have_a_gradient_alone(sparse):
    compare(lambda: _embedded(sparse, bag=True), lambda: _embedded(bag=True), REAL)
    for oracle in TWICE:
        assert refuses(objective(_embedded(sparse, bag=True)), oracle, "_embedding_bag_backward")


def test_a_sparse_function_is_refused():
    model = _embedded()
    model.function = lambda self, x: self.b(
        F.embedding((x[:, :2] > 0).long(), self.e.weight, sparse=True).flatten(1).tanh()
    )
    for oracle in {*REAL, *TWICE} - {"loss", "loss elsewhere", "closure"}:
        assert refuses(objective(model), oracle, "sparse=False")


@pytest.mark.parametrize("oracle", ["loss elsewhere", "gradient elsewhere", "summary"])
def test_a_pass_that_writes_its_parameters_is_refused(oracle):
    """It would write into the vector of the caller."""
    model = _embedded()
    model.e.max_norm = 0.1
    assert refuses(objective(model), oracle, "writes its parameters; allowed: embeddings without max_norm")


# Precisions


def _pair(cast) -> Model:
    torch.manual_seed(0)
    return Model(lambda self, x: cast(self, x), a=nn.Linear(4, 5), b=nn.Linear(5, 3))


def _autocast(self, x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return self.b(self.a(x).tanh()).float()


def _mixed() -> Model:
    model = _pair(lambda self, x: self.b(self.a(x).tanh().double())).float()
    model.b.double()
    return model


PRECISIONS = {  # the model, the type of its inputs, and the relative error allowed
    "float32": (lambda: _pair(lambda self, x: self.b(self.a(x).tanh())).float(), torch.float32, 1e-5),
    "bfloat16": (lambda: _pair(lambda self, x: self.b(self.a(x).tanh())).bfloat16(), torch.bfloat16, 5e-2),
    "float16": (lambda: _pair(lambda self, x: self.b(self.a(x).tanh())).half(), torch.float16, 1e-2),
    "autocast": (lambda: _pair(_autocast).float(), torch.float32, 5e-2),
    "float32 and float64": (_mixed, torch.float32, 1e-5),
}


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_precision(name):
    make, dtype, tolerance = PRECISIONS[name]
    f, plain = objective(make(), dtype), objective(_pair(lambda self, x: self.b(self.a(x).tanh())).double())
    v = noise((f.space.size,), 5)
    for oracle in REAL | TWICE:
        actual, expected = ORACLES[oracle](f, v.to(f.space.dtype)), ORACLES[oracle](plain, v)
        assert (actual.double() - expected).norm() < tolerance * expected.norm(), oracle
    if name != "float32":
        for oracle in ("complex gradient", "curvature"):
            assert refuses(objective(make(), dtype), oracle, "no complex pass")
        with pytest.raises(Unsupported, match="no complex pass"):
            f.loss(f.space.get().to(torch.complex64))


# Compiled and wrapped models


def _plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("wrap", [torch.jit.script, nn.DataParallel], ids=["script", "DataParallel"])
def test_wrapped_models(wrap):
    compare(lambda: wrap(_plain()), _plain, REAL | TWICE)
    if wrap is torch.jit.script:
        for oracle in COMPLEX:
            assert refuses(objective(wrap(_plain())), oracle, "no complex pass")
        with (
            pytest.raises(Unsupported, match="no record of 0: it is a torch.jit module"),
            objective(wrap(_plain())).record(),
        ):
            pass


def test_distributed_models_are_refused():
    model = nn.parallel.DistributedDataParallel.__new__(nn.parallel.DistributedDataParallel)
    nn.Module.__init__(model)
    with pytest.raises(UsageError, match=r"model\.module"):
        objective(model)


# What is no model of [N, C]

OUTPUTS = {
    "a tuple of 2": lambda z: (z, None),
    "a dict with the keys logits": lambda z: {"logits": z},
    "None": lambda z: None,
    r"a tensor of shape \[\]": lambda z: z.sum(),
}


@pytest.mark.parametrize("what", OUTPUTS)
def test_outputs_that_are_not_one_tensor(what):
    model = Model(lambda self, x: OUTPUTS[what](self.a(x)), a=nn.Linear(4, 3)).double()
    for oracle in ORACLES:
        assert refuses(objective(model), oracle, f"Model returns {what}; allowed: one tensor")


@pytest.mark.parametrize("oracle", ORACLES)
def test_outputs_that_depend_on_no_parameter(oracle):
    model = Model(lambda self, x: x[:, :3] * 1.0, a=nn.Linear(4, 3)).double()
    if oracle not in ("loss", "loss elsewhere"):
        assert refuses(objective(model), oracle, "depend on no parameter")


def test_parameters_that_nothing_uses():
    def with_unused():
        model = _plain()
        return Model(lambda self, x: self.m(x), m=model, z=nn.Linear(2, 2).double())

    f, plain = objective(with_unused()), objective(_plain())
    v = noise((f.space.size,), 5)
    for name in ("gradient", "hessian", "ggn", "complex gradient"):
        used = ORACLES[name](plain, v[: plain.space.size])
        expected = torch.cat([used, torch.zeros(f.space.size - len(used)).double()])
        torch.testing.assert_close(ORACLES[name](f, v), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: _plain().requires_grad_(False), "no parameter that requires a gradient"),
        (lambda: nn.Flatten(), "no parameter that requires a gradient"),
        (lambda: nn.Linear(4, 3).to(torch.complex128), "parameter weight is complex128"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), r"parameter 0\.weight has no values yet"),
        (
            lambda: nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3).to("meta")),
            "parameter 0.weight is on cpu and 1.weight",
        ),
    ],
    ids=["frozen", "none", "complex", "lazy", "two devices"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:Complex modules")
def test_parameters_that_cannot_be_trained(make, match):
    with pytest.raises(UsageError, match=match) as refusal:
        objective(make())
    assert "\n" not in str(refusal.value)


def test_a_jacobian_is_of_outputs_with_classes():
    class Sum(CrossEntropy):
        def __call__(self, outputs, targets):
            return outputs.square().sum()

    model = Model(lambda self, x: self.a(x)[:, 0], a=nn.Linear(4, 3)).double()
    for oracle in ("output_jacobian", "ggn"):
        assert refuses(objective(model, loss=Sum()), oracle, r"takes outputs \[N, C\], the model returns")
