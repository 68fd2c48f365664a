"""The LSTM in float64 against its equations, sample by sample and word by word, and against torch's LSTM."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from sobench.losses import CrossEntropy
from sobench.models import lstm as module
from sobench.models.lstm import Recurrence, backwards, lstm, reorder
from sobench.objective import Objective

V, D, H, L, C = 7, 3, 4, 5, 2
IDS = torch.tensor([[0, 0, 3, 2, 6], [1, 5, 5, 4, 2], [0, 0, 0, 0, 3], [0, 0, 0, 0, 0]])
LABELS = torch.tensor([0, 1, 1, 0])
FORMS = {
    "plain": {},
    "both ways": {"bidirectional": True},
    "two layers": {"layers": 2},
    "two layers both ways": {"layers": 2, "bidirectional": True},
}


def make(**options) -> nn.Module:
    torch.manual_seed(0)
    vectors = torch.randn(V, D)
    return lstm((L,), C, vectors=vectors, **({"hidden": H} | options)).double()


def states(cell: dict, words: list) -> list:
    """h after each word, by the equations, a gate at a time."""
    h = c = words[0].new_zeros(H) if words else None
    found = []
    for x in words:
        a = cell["weight_ih"] @ x + cell["bias_ih"] + cell["weight_hh"] @ h + cell["bias_hh"]
        i, f, o, g = (a[k * H : (k + 1) * H] for k in range(4))
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        found.append(h)
    return found


def reference(state: dict, ids, layers: int = 1, bidirectional: bool = False):
    """Logits of each text without its padding."""
    rows = []
    for row in ids:
        words = [state["embedding.weight"][w] for w in row if w]
        for k in range(layers):
            cells = [
                {name: state[f"layers.{k}.{d}.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
                for d in range(1 + bidirectional)
            ]
            ways = [states(cells[0], words)] + ([states(cells[1], words[::-1])] if bidirectional else [])
            last = torch.cat([way[-1] for way in ways]) if words else state["output.weight"].new_zeros(H * len(ways))
            words = [torch.cat(pair) for pair in zip(ways[0], *(way[::-1] for way in ways[1:]))]
        rows.append(state["output.weight"] @ last + state["output.bias"])
    return torch.stack(rows)


def derivatives(forward, model):
    """Outputs, and gradient and Hessian-vector product of the mean cross entropy, by plain autograd."""
    state = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    outputs = forward(state)
    grads = torch.autograd.grad(F.cross_entropy(outputs, LABELS), list(state.values()), create_graph=True)
    torch.manual_seed(1)
    v = [torch.randn_like(g) for g in grads]
    products = torch.autograd.grad(grads, list(state.values()), v, allow_unused=True)
    return outputs, *(torch.cat([p.flatten() for p in part]) for part in (grads, products))


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("block", [32, 2])
def test_outputs_gradient_and_hessian_product(monkeypatch, options, block):
    monkeypatch.setattr(module, "BLOCK", block)
    model = make(**options)
    ours = derivatives(lambda state: functional_call(model, state, (IDS,)), model)
    theirs = derivatives(lambda state: reference(state, IDS, **options), model)
    for found, expected in zip(ours, theirs):
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_it_is_torchs_lstm_with_another_order_of_gates():
    ours, theirs = Recurrence(D, H, last=False).double(), nn.LSTM(D, H, batch_first=True).double()
    with torch.no_grad():
        for name, p in ours.named_parameters():
            i, f, o, g = p.chunk(4)
            getattr(theirs, f"{name}_l0").copy_(torch.cat([i, f, g, o]))
    x = torch.randn(6, L, D, dtype=torch.float64)
    torch.testing.assert_close(ours(x, torch.ones(6, L, 1, dtype=torch.float64)), theirs(x)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
def test_padding_changes_nothing(options):
    """Neither the amount of padding nor its vector has an effect, and its vector has no gradient."""
    model = make(**options)
    expected = model(IDS)
    assert torch.equal(model(F.pad(IDS, (3, 0))), expected)
    with torch.no_grad():
        model.embedding.weight[0] = 100.0
    assert torch.equal(model(IDS), expected)
    F.cross_entropy(model(IDS), LABELS).backward()
    assert not model.embedding.weight.grad[0].any() and model.embedding.weight.grad[2:].all()


def test_a_sequence_backwards():
    padding = IDS == 0
    turned = reorder(IDS[..., None].double(), backwards(padding))[..., 0].long()
    assert turned.tolist() == [[0, 0, 6, 2, 3], [2, 4, 5, 5, 1], [0, 0, 0, 0, 3], [0, 0, 0, 0, 0]]
    assert torch.equal(reorder(turned[..., None], backwards(padding))[..., 0], IDS)


def test_the_objectives_oracles():
    """Gradient, Hessian, Gauss-Newton matrix, per-sample gradients and layer records of a network with an embedding."""
    model = make()
    f = Objective(model, CrossEntropy(), (IDS, LABELS))
    with f.record() as layers:
        loss, g = f.value_and_grad()
    outputs, expected_g, expected_Hv = derivatives(lambda state: reference(state, IDS), model)
    torch.testing.assert_close(loss, F.cross_entropy(outputs, LABELS))
    torch.testing.assert_close(g, expected_g)
    record = layers["output"]
    assert record.inputs.shape == (4, H) and torch.equal(record.inputs[3], torch.zeros(H, dtype=torch.float64))
    weight = f.space.named(g)["output.weight"]
    torch.testing.assert_close(torch.einsum("nc,nh->ch", record.output_grads, record.inputs), weight)
    torch.manual_seed(1)
    v = torch.cat([torch.randn_like(p).flatten() for p in model.parameters()])
    torch.testing.assert_close(f.hessian() @ v, expected_Hv)
    torch.testing.assert_close(f.per_sample_grads().mean(0), g)
    J = f.output_jacobian()
    p = outputs.softmax(1)
    curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    torch.testing.assert_close(f.ggn() @ v, torch.einsum("ncp,ncd,ndq,q->p", J, curvature, J, v) / 4)
    torch.testing.assert_close((f.hessian() @ torch.stack([v, 2 * v], 1))[:, 1], 2 * expected_Hv)


def test_fixed_word_vectors_are_no_parameters():
    model = make(trainable=False)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert "embedding.weight" not in names and len(names) == 6
    assert Objective(model, CrossEntropy(), (IDS, LABELS)).space.size == 4 * H * (D + H + 2) + C * (H + 1)


def test_the_data_sets_vectors_are_copied():
    vectors = torch.randn(V, D)
    model = lstm((L,), C, vectors=vectors)
    assert torch.equal(model.embedding.weight, vectors) and model.output.in_features == 100
    with torch.no_grad():
        model.embedding.weight.zero_()
    assert vectors.all()


def test_initialisation_is_torchs():
    """Uniform between -1/sqrt(H) and 1/sqrt(H)."""
    torch.manual_seed(0)
    bound = 64**-0.5
    for p in Recurrence(50, 64, last=True).parameters():
        assert p.abs().max() <= bound
        assert abs(p.std().item() * math.sqrt(3) / bound - 1) < 4 / math.sqrt(p.numel())


def test_dropout_is_off_in_evaluation_and_on_in_training():
    model = make(dropout=0.5)
    assert not torch.equal(model(IDS), model(IDS))
    assert torch.equal(model.eval()(IDS), model(IDS))
    torch.testing.assert_close(model(IDS), make()(IDS))
