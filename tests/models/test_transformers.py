"""ViT and GPT in float64: the same function by sums, products and exponentials, and every oracle on both."""

import math

import pytest
import torch
from problems import noise
from torch import Tensor, nn
from twins import REAL, compare
from zoo import plainly

from sobench import Objective
from sobench.errors import UsageError
from sobench.losses import CrossEntropy, SequenceCrossEntropy
from sobench.models.gpt import gpt
from sobench.models.transformer import Attention
from sobench.models.vit import ViT, patches
from sobench.objective import complex_hessian

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")
VIT = {"patch": 1, "width": 4, "depth": 1, "heads": 2, "expansion": 1, "class_token": False, "dropout": 0.0}
GPT = {"width": 4, "depth": 2, "heads": 2, "expansion": 2, "dropout": 0.0}
T, V, N = 3, 5, 4


def image_model(**options) -> nn.Module:
    """Of 4 pixels and 3 outputs."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Unflatten(1, (1, 2, 2)), ViT((1, 2, 2), 3, **(VIT | options))).double()


def text_model(**options) -> nn.Module:
    torch.manual_seed(0)
    model = gpt((T,), T * V, symbols=V, **(GPT | options)).double()
    with torch.no_grad():  # the initial weights are so small that a block hardly counts
        for p in model.parameters():
            p.add_(0.3 * noise(p.shape, p.numel()))
    return model


def test_every_oracle_of_a_vision_transformer():
    compare(image_model, lambda: plainly(image_model()))


def test_a_class_token_is_one_position_more():
    compare(lambda: image_model(class_token=True), lambda: plainly(image_model(class_token=True)), REAL)
    model = image_model(class_token=True)[1]
    assert model.output(model.norm(model.token)).shape == (3,) and model.positions.shape == (4, 4)


def test_patches_are_read_row_by_row():
    images = torch.arange(2 * 4 * 6).view(1, 2, 4, 6)
    found = patches(images, 2)
    assert found.shape == (1, 6, 8)
    for t in range(6):
        row, column = 2 * (t // 3), 2 * (t % 3)
        assert torch.equal(found[0, t], images[0, :, row : row + 2, column : column + 2].flatten())


def batch() -> tuple[Tensor, Tensor]:
    ids = torch.randint(V, (N, T + 1), generator=torch.Generator().manual_seed(2))
    return ids[:, :-1], ids[:, 1:]


def test_every_oracle_of_a_gpt():
    """Those of the objective against plain autograd on the sum over positions, with attention by its formula."""
    model, plain, (x, t) = text_model(), plainly(text_model()), batch()
    f = Objective(model, SequenceCrossEntropy(symbols=V), (x, t))
    v, parameters = noise((f.space.size,), 5), list(plain.parameters())
    flat = lambda tensors: torch.cat([p.flatten() for p in tensors])
    z = plain(x)
    losses = -z.view(N, T, V).log_softmax(2).gather(2, t[..., None]).sum((1, 2))
    g = flat(torch.autograd.grad(losses.mean(), parameters, create_graph=True))
    Hv = flat(torch.autograd.grad(g @ v, parameters, retain_graph=True))
    rows = lambda y: torch.stack([flat(torch.autograd.grad(e, parameters, retain_graph=True)) for e in y])
    J, p = rows(z.flatten()).view(N, T, V, -1), z.detach().view(N, T, V).softmax(2)
    Jv = J @ v
    Gv = torch.einsum("ntvp,ntv->p", J, p * Jv - p * (p * Jv).sum(2, keepdim=True)) / N
    close = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    close(f.loss(), losses.mean().detach())
    close(f.value_and_grad()[1], g.detach())
    close(f.hessian() @ v, Hv)
    close(f.ggn() @ v, Gv)
    close(f.per_sample_grads(), rows(losses))
    close(f.output_jacobian(), J.flatten(1, 2))
    close(complex_hessian(f) @ v, Hv)
    close(f.curvature(v), v @ Hv)
    f()
    close(flat([q.grad for q in model.parameters()]), g.detach())
    with f.record() as layers:
        roots = f.propagate_roots()
    a, h = layers["output"].inputs, roots["output"]  # [N, T, D], [T V, N, T, V]
    W = J[..., -V * a.shape[2] :].unflatten(-1, (V, -1))  # the Jacobian in the weight of the output layer
    H = torch.diag_embed(p) - p[..., None] * p[..., None, :]
    exact = torch.einsum("ntvid,ntvw,ntwje->idje", W, H, W)
    rows_of_W = torch.einsum("cnti,ntd->cnid", h, a)
    close(torch.einsum("cnid,cnje->idje", rows_of_W, rows_of_W), exact)


def test_a_character_sees_none_after_it():
    model, (x, _) = text_model(), batch()
    later = x.clone()
    later[:, -1] = (x[:, -1] + 1) % V
    before, after = (model(ids).view(N, T, V) for ids in (x, later))
    assert torch.equal(before[:, :-1], after[:, :-1]) and not torch.equal(before[:, -1], after[:, -1])


def test_the_default_gpt_has_a_fifth_of_a_million_parameters_and_knows_nothing():
    torch.manual_seed(0)
    model = gpt((64,), 64 * 103, symbols=103, width=64, depth=4, heads=4, expansion=4, dropout=0.0)
    assert 190_000 < sum(p.numel() for p in model.parameters()) < 230_000
    ids = torch.randint(103, (8, 65), generator=torch.Generator().manual_seed(0))
    loss = SequenceCrossEntropy(symbols=103)(model(ids[:, :-1]), ids[:, 1:]) / 64
    assert abs(float(loss.detach()) - math.log(103)) < 0.1


def test_softmax_does_not_depend_on_a_bias_of_the_keys():
    torch.manual_seed(0)
    attention, x = Attention(4, 2, causal=True).double(), noise((2, 3, 4), 1)
    before = attention(x)
    attention.key.bias = nn.Parameter(noise((4,), 2))
    torch.testing.assert_close(attention(x), before)


@pytest.mark.parametrize(
    "build, message",
    [
        (
            lambda: ViT((64,), 10, **VIT),
            "vit takes images, got inputs 64; allowed: channels x height x width",
        ),
        (
            lambda: ViT((1, 8, 6), 10, **(VIT | {"patch": 4})),
            "model.patch: got 4, allowed: a divisor of both sides",
        ),
        (
            lambda: ViT((1, 8, 8), 10, **(VIT | {"heads": 3})),
            "model.heads: got 3, allowed: a divisor of model.width=4",
        ),
        (lambda: gpt((T,), 7, symbols=V, **GPT), "an output for each of 5 characters at each of 3 positions, got 7"),
    ],
)
def test_what_does_not_fit_is_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()


def test_dropout_draws_the_same_in_every_pass():
    f = Objective(image_model(dropout=0.3), CrossEntropy(), (noise((6, 4), 1), torch.arange(6) % 3))
    assert torch.equal(f.loss(), f.loss()) and f.loss() != f.on(f.batch).loss()
