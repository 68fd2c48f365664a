"""Small models with one feature each, and a second way of writing the same function of the same parameters.

A step of an optimizer depends on the function, not on how it is written, so both models must take the same step. The
second way uses sums, products, exp and relu. Methods that look at layers get Linear layers instead
(`layered`), where another way of writing exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from forwards import Model
from problems import noise
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from sobench.losses import CrossEntropy, Loss, SequenceCrossEntropy
from sobench.models.gpt import gpt
from sobench.models.transformer import Attention, Block
from sobench.models.vit import ViT

N, WIDTH, CLASSES = 6, 4, 3

Maker = Callable[[], nn.Module]


@dataclass(frozen=True)
class Specimen:
    """One model.

    written: makes the model as its users write it. plain: makes the second one, whose parameters have the same order
    and number of entries. layered: the second one for methods that look at layers; `plain` if None.
    loss: of its outputs. shape: of one input. samples: in the batch. words: inputs are integers below this; 0: they
    are real numbers.
    pairs_are_rounding: the mean gradient at the outputs of a layer is zero but for rounding, since the next
        layer subtracts a mean, or softmax does. The direction of K-BFGS's pairs (s, y) is then that of rounding.
    """

    feature: str
    written: Maker
    plain: Maker
    layered: Maker | None = None
    shape: tuple[int, ...] = (WIDTH,)
    samples: int = N
    words: int = 0
    training: bool = True
    pairs_are_rounding: bool = False
    loss: Loss = CrossEntropy()

    def targets(self) -> Tensor:
        """Labels of the batch: [N], or [N, T] for a loss of sequences of T inputs."""
        labels = torch.arange(self.samples) % CLASSES
        return labels if self.loss.takes == "labels" else (labels[:, None] + torch.arange(*self.shape)) % CLASSES

    def inputs(self, seed: int) -> Tensor:
        x = noise((self.samples, *self.shape), seed)
        return (x.abs() * 1e4).long() % self.words if self.words else x

    def pair(self, looks_at_layers: bool) -> tuple[nn.Module, nn.Module]:
        """Both models in float64, with the parameters of the first."""
        written = _seeded(self.written).train(self.training)
        other = _seeded((looks_at_layers and self.layered) or self.plain).train(self.training)
        ours, theirs = list(written.parameters()), list(other.parameters())
        assert [p.numel() for p in ours] == [p.numel() for p in theirs], self.feature
        with torch.no_grad():
            for p, q in zip(ours, theirs):
                q.copy_(p.reshape(q.shape))
        return written, other


def _seeded(make: Maker) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return make().double()


class Formula(nn.Module):
    """forward(x) = function(x, *parameters), for parameters [shape] with small entries."""

    def __init__(self, function: Callable[..., Tensor], *shapes: tuple[int, ...]):
        super().__init__()
        self.function = function
        self.parts = nn.ParameterList([nn.Parameter(0.4 * noise(shape, 11 + i)) for i, shape in enumerate(shapes)])

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


def last(width: int = 5) -> nn.Linear:
    return nn.Linear(width, CLASSES)


# Layers by their formulas


def tanh(x: Tensor) -> Tensor:
    return 1 - 2 / (1 + (2 * x).exp())


def affine(x: Tensor, W: Tensor, b: Tensor | float = 0.0) -> Tensor:
    return (x[..., None, :] * W).sum(-1) + b


def normalized(x: Tensor, over: tuple[int, ...], eps: float = 1e-5, centred: bool = True) -> Tensor:
    d = x - x.mean(over, keepdim=True) if centred else x
    return d * ((d * d).mean(over, keepdim=True) + eps) ** -0.5


def windows(x: Tensor, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
    """The inputs of each output location, [N, C, *kernel, *locations], for x [N, C, ...] padded with zeros."""
    dims = x.ndim - 2
    x = F.pad(x, (padding,) * (2 * dims))
    for d in range(dims):
        size = (x.shape[-dims + d] - dilation * (kernel - 1) - 1) // stride + 1
        index = torch.arange(kernel)[:, None] * dilation + torch.arange(size)[None] * stride
        x = x.movedim(2 + 2 * d, -1)[..., index].movedim((-2, -1), (2 + 2 * d, 3 + 2 * d))
    order = [0, 1, *range(2, 2 + 2 * dims, 2), *range(3, 3 + 2 * dims, 2)]
    return x.permute(order)


def convolved(x: Tensor, W: Tensor, b: Tensor | None = None, *, kernel: int, **geometry: int) -> Tensor:
    """The convolution of x [N, C, ...] with W [I, C, ...], each side of whose kernel has `kernel` entries."""
    p = windows(x, kernel, **geometry)
    dims = x.ndim - 2
    z = W.flatten(1) @ p.flatten(1, 1 + dims).flatten(2)
    return (z if b is None else z + b[:, None]).view(len(x), len(W), *p.shape[2 + dims :])


def _by_windows(shape: tuple[int, ...], kernel: int, dims: int, outputs: int, **geometry: int) -> Maker:
    """Maker of tanh(convolution), flattened, and a Linear layer, for x [N, C, ...], by formulas.

    A kernel is [I, C, pixels]: the number of its modes, of which Shampoo and TNT precondition each.
    """
    kernel_shape = (outputs, shape[0], kernel**dims)
    width = convolved(torch.zeros(1, *shape), torch.zeros(kernel_shape), kernel=kernel, **geometry).numel()
    return lambda: Formula(
        lambda x, W, b, V, c: affine(tanh(convolved(x, W, b, kernel=kernel, **geometry)).flatten(1), V, c),
        kernel_shape,
        (outputs,),
        (CLASSES, width),
        (CLASSES,),
    )


def _by_linear(shape: tuple[int, ...], kernel: int, dims: int, outputs: int, **geometry: int) -> Maker:
    """`_by_windows` with Linear layers, the first of which sees each window as one position."""
    rows = lambda x: windows(x, kernel, **geometry).flatten(1, dims + 1).flatten(2).transpose(1, 2)
    positions = rows(torch.zeros(1, *shape)).shape[1]
    return lambda: Model(
        lambda self, x: self.b(torch.tanh(self.a(rows(x))).transpose(1, 2).flatten(1)),
        a=nn.Linear(shape[0] * kernel**dims, outputs),
        b=last(outputs * positions),
    )


def _with_last(first: Callable[..., Tensor], *shapes: tuple[int, ...], width: int = 5) -> Maker:
    """Maker of first(x, *parameters), tanh, and a Linear layer: only the latter is a layer of the model."""
    return lambda: Model(
        lambda self, x: self.b(torch.tanh(self.a(x)).flatten(1)), a=Formula(first, *shapes), b=last(width)
    )


def _convolution(shape: tuple[int, ...], outputs: int, conv: Callable[..., nn.Module], **geometry: object) -> Maker:
    def make() -> nn.Module:
        layer = conv(shape[0], outputs, **geometry)
        return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), last(layer(torch.zeros(1, *shape)).numel()))

    return make


def convolution(feature: str, shape: tuple[int, ...], conv: type[nn.Module], kernel: int, **geometry: int) -> Specimen:
    dims, make = len(shape) - 1, _convolution(shape, 2, conv, kernel_size=kernel, **geometry)
    plain = _by_windows(shape, kernel, dims, 2, **geometry)
    if conv is nn.Conv2d:
        layered = _by_linear(shape, kernel, dims, 2, **geometry)
    else:  # not a layer of the form W a_t
        first = lambda x, W, b: convolved(x, W, b, kernel=kernel, **geometry)
        layered = _with_last(first, (2, shape[0], kernel**dims), (2,), width=make()[-1].in_features)
    return Specimen(feature, make, plain, layered, shape=shape)


def two_layers(between: Callable[..., Tensor], **modules: nn.Module) -> Model:
    """x -> b(between(self, tanh(a x)))."""
    return Model(
        lambda self, x: self.b(between(self, torch.tanh(self.a(x)))), a=nn.Linear(WIDTH, 5), **modules, b=last()
    )


def inside(feature: str, between: Callable[..., Tensor], plain: Callable[..., Tensor], **options: object) -> Specimen:
    """Two Linear layers with an operation without parameters between them, against its formula."""
    second = lambda: Formula(
        lambda x, W, b, V, c: affine(plain(tanh(affine(x, W, b))), V, c), (5, WIDTH), (5,), (CLASSES, 5), (CLASSES,)
    )
    return Specimen(
        feature,
        lambda: two_layers(lambda self, h: between(h)),
        second,
        lambda: two_layers(lambda self, h: plain(h)),
        **options,
    )


def normalization(feature: str, layer: Callable[[], nn.Module], plain: Callable[..., Tensor], **options) -> Specimen:
    """Two Linear layers with a normalization between them; `plain(h, *its parameters)` is its formula."""
    shapes = [tuple(p.shape) for p in layer().parameters()]
    return Specimen(
        feature,
        lambda: two_layers(lambda self, h: self.n(h), n=layer()),
        lambda: Formula(
            lambda x, W, b, *rest: affine(plain(affine_tanh(x, W, b), *rest[:-2]), *rest[-2:]),
            (5, WIDTH),
            (5,),
            *shapes,
            (CLASSES, 5),
            (CLASSES,),
        ),
        lambda: two_layers(lambda self, h: self.n(h), n=Formula(plain, *shapes)),
        **options,
    )


def affine_tanh(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    return tanh(affine(x, W, b))


# Recurrent layers and attention


def lstm(x: Tensor, W: Tensor, U: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The last hidden state of an LSTM [N, H], for x [N, T, D]."""
    h = s = x.new_zeros(len(x), U.shape[1], dtype=torch.result_type(x, W))
    H = U.shape[1]
    for t in range(x.shape[1]):
        z = affine(x[:, t], W, b) + affine(h, U, c)
        i, f, g, o = (z[:, k * H : (k + 1) * H] for k in range(4))
        s = sigmoid(f) * s + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(s)
    return h


def gru(x: Tensor, W: Tensor, U: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The last hidden state of a GRU [N, H], for x [N, T, D]."""
    H = U.shape[1]
    h = x.new_zeros(len(x), H)
    for t in range(x.shape[1]):
        u, v = affine(x[:, t], W, b), affine(h, U, c)
        r, z = (sigmoid(u[:, k * H : (k + 1) * H] + v[:, k * H : (k + 1) * H]) for k in range(2))
        n = tanh(u[:, 2 * H :] + r * v[:, 2 * H :])
        h = (1 - z) * n + z * h
    return h


def recurrent(feature: str, layer: type[nn.RNNBase], last_state: Callable[..., Tensor], gates: int) -> Specimen:
    """The last hidden state [N, 3] of a recurrent layer, and a Linear layer; `last_state` is its formula."""
    shapes = (3 * gates, 2), (3 * gates, 3), (3 * gates,), (3 * gates,)
    return Specimen(
        feature,
        lambda: Model(lambda self, x: self.o(self.r(x)[0][:, -1]), r=layer(2, 3, batch_first=True), o=last(3)),
        lambda: Formula(
            lambda x, W, U, b, c, V, d: affine(last_state(x, W, U, b, c), V, d), *shapes, (CLASSES, 3), (CLASSES,)
        ),
        lambda: Model(lambda self, x: self.o(self.r(x)), r=Formula(last_state, *shapes), o=last(3)),
        shape=(3, 2),
    )


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + (-x).exp())


def softmax(x: Tensor, seen: Tensor | float = 1.0) -> Tensor:
    e = x.exp() * seen
    return e / e.sum(-1, keepdim=True)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    """softmax(q k' / sqrt(d)) v for each head, [N, T, D]. causal: over the positions up to each."""
    d = q.shape[-1] // heads
    parts = lambda a, h: a[..., h * d : (h + 1) * d]
    each = []
    for h in range(heads):
        scores = (parts(q, h)[:, :, None] * parts(k, h)[:, None]).sum(-1) / math.sqrt(d)
        seen = torch.ones(scores.shape[-2:]).tril().to(scores) if causal else 1.0
        each.append((softmax(scores, seen)[..., None] * parts(v, h)[:, None]).sum(2))
    out = torch.zeros_like(q)
    for h in range(heads):
        out = out + F.pad(each[h], (h * d, q.shape[-1] - (h + 1) * d))
    return out


def self_attention(x: Tensor, W: Tensor, b: Tensor, O: Tensor, c: Tensor) -> Tensor:
    D = O.shape[0]
    q, k, v = (affine(x, W[i * D : (i + 1) * D], b[i * D : (i + 1) * D]) for i in range(3))
    return affine(attention(q, k, v, 2), O, c)


def encoder_layer(x: Tensor, W, b, O, c, W1, b1, W2, b2, g1, s1, g2, s2) -> Tensor:
    """nn.TransformerEncoderLayer without dropout, norms last, with tanh between its Linear layers."""
    x = normalized(x + self_attention(x, W, b, O, c), (-1,)) * g1 + s1
    return normalized(x + affine(tanh(affine(x, W1, b1)), W2, b2), (-1,)) * g2 + s2


class PlainAttention(Attention):
    def forward(self, x: Tensor) -> Tensor:
        return self.output(attention(self.query(x), self.key(x), self.value(x), self.heads, self.causal))


class PlainBlock(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        h = self.expand(self.mlp_norm(x))
        return x + self.contract(h * sigmoid(math.sqrt(8 / math.pi) * (h + 0.044715 * h * h * h)))


def plainly(model: nn.Module, linear: bool = True) -> nn.Module:
    """A model of transformer blocks, changed in place to formulas. linear: whether its Linear layers are kept."""
    for module in list(model.modules()):
        if isinstance(module, Attention):
            module.__class__ = PlainAttention
        elif isinstance(module, Block):
            module.__class__ = PlainBlock
        for name, child in module.named_children():
            formula = None
            if isinstance(child, nn.LayerNorm):
                formula = Formula(lambda x, g, s: normalized(x, (-1,)) * g + s, *(p.shape for p in child.parameters()))
            elif isinstance(child, nn.Linear) and not linear:
                formula = Formula(affine, *(p.shape for p in child.parameters()))
                formula.in_features = child.in_features
            if formula is not None:
                for own, p in zip(formula.parts, child.parameters()):
                    own.data = p.data
                setattr(module, name, formula)
    return model


def _encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, dim_feedforward=3, dropout=0.0, activation=torch.tanh, batch_first=True)


def _vit() -> nn.Module:
    options = {"patch": 2, "width": 4, "depth": 1, "heads": 2, "expansion": 1, "class_token": False, "dropout": 0.0}
    return ViT((1, 2, 4), CLASSES, **options)


def _gpt() -> nn.Module:
    model = gpt((2,), 2 * CLASSES, symbols=CLASSES, width=4, depth=1, heads=2, expansion=1, dropout=0.0)
    with torch.no_grad():  # the initial weights are so small that a block hardly counts
        for p in model.parameters():
            p.add_(0.3 * noise(p.shape, p.numel()))
    return model


# Layers used several times


def one_call(layer: nn.Linear, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """tanh(layer(x)), and tanh(layer(.)) of it, by one call of the layer on both inputs [N, 2, D].

    The second input enters by its value; its derivative is added apart, where the layer's weight has none. The first
    derivatives are those of two calls.
    """
    with torch.no_grad():
        value = torch.tanh(F.linear(x, layer.weight, layer.bias))
    both = layer(torch.stack([x, value], 1))
    h = torch.tanh(both[:, 0])
    return h, lambda h: torch.tanh(both[:, 1] + F.linear(h - value, layer.weight.detach()))


def _unrolled_by_one_call(self: Model, x: Tensor) -> Tensor:
    h, again = one_call(self.a, x)
    return self.o(again(h))


def twice(W: int = WIDTH) -> Maker:
    return lambda: Formula(
        lambda x, W, b, V, c: affine(tanh(affine(tanh(affine(x, W, b)), W, b)), V, c),
        (WIDTH, WIDTH),
        (WIDTH,),
        (CLASSES, WIDTH),
        (CLASSES,),
    )


def square() -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH)


def _one_module_twice() -> nn.Module:
    layer = square()
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), last(WIDTH))


def _tied_modules() -> nn.Module:
    model = Model(lambda self, x: self.o(torch.tanh(self.b(torch.tanh(self.a(x))))), a=square(), b=square(), o=last(4))
    model.b.weight = model.a.weight
    return model


def _two_names() -> nn.Module:
    model = two_layers(lambda self, h: h)
    model.layers = nn.ModuleList([model.a, model.b])
    return model


def _frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), last(4))
    model[0].requires_grad_(False)
    return model


def _hooked() -> nn.Module:
    model = two_layers(lambda self, h: h)
    model.a.register_forward_hook(lambda module, args, outputs: 2 * outputs)
    return model


class Halved(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, 0.5 * self.weight, self.bias)


class Softsign(torch.autograd.Function):
    """x / (1 + |x|) with a backward of its own that can be differentiated again."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x / (1 + x.abs())

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad / (1 + x.abs()).square()


def _spectral() -> nn.Module:
    layer = parametrizations.spectral_norm(nn.Linear(WIDTH, 5).double())
    return Model(lambda self, x: self.b(torch.tanh(self.a(x))), a=layer, b=last())


def _unit_gain(W: Tensor) -> Tensor:
    """W / (u' W v), for the vectors u and v that the layer of `_spectral` keeps."""
    norm = _seeded(_spectral).a.parametrizations.weight[0]
    return W / (norm._u[:, None] * W * norm._v).sum()


def _pruned() -> nn.Module:
    layer = nn.Linear(WIDTH, 5).double()
    prune.custom_from_mask(layer, "weight", torch.arange(5 * WIDTH).view(5, WIDTH) % 3 > 0)
    return Model(lambda self, x: self.b(torch.tanh(self.a(x))), a=layer, b=last())


def _elu(h: Tensor) -> Tensor:
    return F.relu(h) + (-F.relu(-h)).exp() - 1


def _kinks(h: Tensor) -> Tensor:
    h = F.relu(h) - 0.1
    h = F.relu(h) - 0.01 * F.relu(-h)
    return F.relu(h + 0.3) - F.relu(h - 0.3) - 0.3


def _prelu(h: Tensor, slope: Tensor) -> Tensor:
    return F.relu(h) - slope * F.relu(-h)


def larger(a: Tensor, b: Tensor) -> Tensor:
    return b + F.relu(a - b)


def _row_max(h: Tensor) -> Tensor:
    m = h[:, 0]
    for i in range(1, h.shape[1]):
        m = larger(m, h[:, i])
    return m[:, None]


def _pooled(h: Tensor) -> Tensor:
    """MaxPool2d(2), tanh, AvgPool2d((2, 1)) of [N, C, 4, 4]."""
    rows = larger(h[:, :, ::2], h[:, :, 1::2])
    return tanh(larger(rows[..., ::2], rows[..., 1::2])).mean(2)


def _frozen_formula() -> nn.Module:
    model = Formula(
        lambda x, W, b, U, d, V, c: affine(affine_tanh(affine_tanh(x, W, b), U, d), V, c),
        *MLP[:2],
        (4, 5),
        (4,),
        (CLASSES, 4),
        (CLASSES,),
    )
    model.parts[0].requires_grad_(False), model.parts[1].requires_grad_(False)
    return model


def _frozen_function() -> nn.Module:
    return Model(
        lambda self, x: self.c(torch.tanh(self.b(torch.tanh(F.linear(x, *self.a))))),
        a=nn.ParameterList([torch.zeros(5, WIDTH), torch.zeros(5)]).requires_grad_(False),
        b=nn.Linear(5, 4),
        c=last(4),
    )


def _scaled() -> nn.Module:
    model = two_layers(lambda self, h: h)
    model.function = lambda self, x: self.b(torch.tanh(self.s * self.a(x)))
    model.s = nn.Parameter(torch.tensor(0.7))
    return model


def _masked(h: Tensor) -> Tensor:
    """Dropout(0.5) by its formula, from the same random numbers."""
    return h * torch.empty(h.shape, dtype=torch.float64).bernoulli_(0.5) * 2


def _dropped_path(h: Tensor) -> Tensor:
    return h + torch.tanh(h) * (torch.rand(len(h), 1) < 0.5)


MLP = ((5, WIDTH), (5,), (CLASSES, 5), (CLASSES,))
CONV = (2, 4, 5)
ATTENTION = ((12, 4), (12,), (4, 4), (4,))
ENCODER = (*ATTENTION, (3, 4), (3,), (4, 3), (4,), (4,), (4,), (4,), (4,))

ZOO = [
    # Layers
    Specimen(
        "Linear",
        lambda: nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh(), last()),
        lambda: Formula(lambda x, W, b, V, c: affine(affine_tanh(x, W, b), V, c), *MLP),
        lambda: two_layers(lambda self, h: h),
    ),
    Specimen(
        "Linear without bias",
        lambda: nn.Sequential(nn.Linear(WIDTH, 5, bias=False), nn.Tanh(), nn.Linear(5, CLASSES, bias=False)),
        lambda: Formula(lambda x, W, V: affine(tanh(affine(x, W)), V), (5, WIDTH), (CLASSES, 5)),
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(x))),
            a=nn.Linear(WIDTH, 5, bias=False),
            b=nn.Linear(5, CLASSES, bias=False),
        ),
    ),
    Specimen(
        "Linear on a sequence [N, T, D]",
        lambda: Model(lambda self, x: self.b(torch.tanh(self.a(x)).mean(1)), a=nn.Linear(3, 5), b=last()),
        lambda: Formula(
            lambda x, W, b, V, c: affine(affine_tanh(x, W, b).mean(1), V, c), (5, 3), (5,), (CLASSES, 5), (CLASSES,)
        ),
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(x.transpose(1, 2)[..., None])).mean((2, 3))),
            a=nn.Conv2d(3, 5, 1),
            b=last(),
        ),
        shape=(2, 3),
    ),
    Specimen(
        "a batch of one",
        lambda: nn.Sequential(nn.Linear(WIDTH, 5), nn.Tanh(), last()),
        lambda: Formula(lambda x, W, b, V, c: affine(affine_tanh(x, W, b), V, c), *MLP),
        lambda: two_layers(lambda self, h: h),
        samples=1,
    ),
    convolution("Conv2d", CONV, nn.Conv2d, 3),
    convolution("Conv2d, strided and padded", CONV, nn.Conv2d, 3, stride=2, padding=1),
    convolution("Conv2d, dilated", CONV, nn.Conv2d, 2, dilation=2),
    convolution("Conv2d with one output pixel", (2, 2, 2), nn.Conv2d, 3, stride=2, padding=1),
    Specimen(
        "Conv2d, channels_last",
        lambda: _convolution(CONV, 2, nn.Conv2d, kernel_size=3, padding=1)().to(memory_format=torch.channels_last),
        _by_windows(CONV, 3, 2, 2, padding=1),
        _by_linear(CONV, 3, 2, 2, padding=1),
        shape=CONV,
    ),
    Specimen(
        "Conv2d, padding='same'",
        _convolution(CONV, 2, nn.Conv2d, kernel_size=3, padding="same"),
        _by_windows(CONV, 3, 2, 2, padding=1),
        _by_linear(CONV, 3, 2, 2, padding=1),
        shape=CONV,
    ),
    Specimen(
        "Conv2d, padding_mode='circular'",
        _convolution((2, 3, 3), 2, nn.Conv2d, kernel_size=3, padding=1, padding_mode="circular"),
        lambda: Formula(
            lambda x, W, b, V, c: affine(
                tanh(convolved(x[:, :, [2, 0, 1, 2, 0]][..., [2, 0, 1, 2, 0]], W, b, kernel=3)).flatten(1), V, c
            ),
            (2, 2, 9),
            (2,),
            (CLASSES, 18),
            (CLASSES,),
        ),
        shape=(2, 3, 3),
    ),
    Specimen(
        "Conv2d, grouped",
        _convolution((2, 3, 3), 4, nn.Conv2d, kernel_size=2, groups=2),
        lambda: Formula(
            lambda x, W, b, V, c: affine(
                tanh(
                    torch.cat(
                        [convolved(x[:, :1], W[:2], b[:2], kernel=2), convolved(x[:, 1:], W[2:], b[2:], kernel=2)], 1
                    )
                ).flatten(1),
                V,
                c,
            ),
            (4, 1, 4),
            (4,),
            (CLASSES, 16),
            (CLASSES,),
        ),
        shape=(2, 3, 3),
    ),
    convolution("Conv1d", (2, 5), nn.Conv1d, 3, stride=2, padding=1),
    convolution("Conv3d", (2, 2, 2, 3), nn.Conv3d, 2),
    Specimen(
        "ConvTranspose2d",
        _convolution((2, 2, 2), 2, nn.ConvTranspose2d, kernel_size=2),
        lambda: Formula(
            lambda x, W, b, V, c: affine(
                tanh(convolved(x, W.flip(2).transpose(0, 1), b, kernel=2, padding=1)).flatten(1), V, c
            ),
            (2, 2, 4),
            (2,),
            (CLASSES, 18),
            (CLASSES,),
        ),
        _with_last(
            lambda x, W, b: convolved(x, W.flip(2).transpose(0, 1), b, kernel=2, padding=1), (2, 2, 4), (2,), width=18
        ),
        shape=(2, 2, 2),
    ),
    Specimen(
        "Embedding",
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(self.e(x)).mean(1))),
            e=nn.Embedding(7, 3),
            a=nn.Linear(3, 5),
            b=last(),
        ),
        lambda: Formula(
            lambda x, E, W, b, V, c: affine(tanh(affine(F.one_hot(x, 7).to(E.dtype) @ E, W, b).mean(1)), V, c),
            (7, 3),
            (5, 3),
            *MLP[1:],
        ),
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(self.e(x)).mean(1))),
            e=Formula(lambda x, E: F.one_hot(x, 7).to(E.dtype) @ E, (7, 3)),
            a=nn.Linear(3, 5),
            b=last(),
        ),
        shape=(3,),
        words=7,
    ),
    Specimen(
        "EmbeddingBag",
        lambda: Model(lambda self, x: self.b(torch.tanh(self.e(x))), e=nn.EmbeddingBag(7, 5), b=last()),
        lambda: Formula(
            lambda x, E, V, c: affine(tanh((F.one_hot(x, 7).to(E.dtype) @ E).mean(1)), V, c), (7, 5), *MLP[2:]
        ),
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.e(x))),
            e=Formula(lambda x, E: (F.one_hot(x, 7).to(E.dtype) @ E).mean(1), (7, 5)),
            b=last(),
        ),
        shape=(3,),
        words=7,
    ),
    Specimen(
        "Embedding, sparse=True",
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.e(x).mean(1))), e=nn.Embedding(7, 5, sparse=True), b=last()
        ),
        lambda: Formula(
            lambda x, E, V, c: affine(tanh((F.one_hot(x, 7).to(E.dtype) @ E).mean(1)), V, c), (7, 5), *MLP[2:]
        ),
        lambda: Model(lambda self, x: self.b(torch.tanh(self.e(x).mean(1))), e=nn.Embedding(7, 5), b=last()),
        shape=(3,),
        words=7,
    ),
    Specimen(
        "Bilinear",
        lambda: Model(lambda self, x: self.b(torch.tanh(self.q(x, x))), q=nn.Bilinear(WIDTH, WIDTH, 5), b=last()),
        lambda: Formula(
            lambda x, Q, q, V, c: affine(tanh((x[:, None, :, None] * Q * x[:, None, None]).sum((2, 3)) + q), V, c),
            (5, WIDTH, WIDTH),
            (5,),
            *MLP[2:],
        ),
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.q(x))),
            q=Formula(
                lambda x, Q, q: (x[:, None, :, None] * Q * x[:, None, None]).sum((2, 3)) + q, (5, WIDTH, WIDTH), (5,)
            ),
            b=last(),
        ),
    ),
    # Activations and pooling
    inside("ReLU and its kin", lambda h: F.hardtanh(F.leaky_relu(F.relu(h) - 0.1), -0.3, 0.3), _kinks),
    inside(
        "GELU, SiLU, Softplus, ELU",
        lambda h: F.gelu(h) + F.silu(h) + F.softplus(h) + F.elu(h),
        lambda h: h * (1 + torch.erf(h / math.sqrt(2))) / 2 + h * sigmoid(h) + (1 + h.exp()).log() + _elu(h),
    ),
    Specimen(
        "PReLU",
        lambda: two_layers(lambda self, h: self.n(h), n=nn.PReLU()),
        lambda: Formula(
            lambda x, W, b, s, V, c: affine(_prelu(affine_tanh(x, W, b), s), V, c), *MLP[:2], (1,), *MLP[2:]
        ),
        lambda: two_layers(lambda self, h: self.n(h), n=Formula(_prelu, (1,))),
    ),
    inside("in-place activation", lambda h: F.elu_(h.clone()), _elu),
    Specimen(
        "in-place activation of a layer's output",
        lambda: nn.Sequential(nn.Linear(WIDTH, 5), nn.ELU(inplace=True), last()),
        lambda: Formula(lambda x, W, b, V, c: affine(_elu(affine(x, W, b)), V, c), *MLP),
        lambda: Model(lambda self, x: self.b(F.elu(self.a(x))), a=nn.Linear(WIDTH, 5), b=last()),
    ),
    Specimen(
        "MaxPool2d, AvgPool2d",
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 1), nn.MaxPool2d(2), nn.Tanh(), nn.AvgPool2d((2, 1)), nn.Flatten(), last(4)
        ),
        lambda: Formula(
            lambda x, W, b, V, c: affine(_pooled(convolved(x, W, b, kernel=1)).flatten(1), V, c),
            (2, 1, 1),
            (2,),
            (CLASSES, 4),
            (CLASSES,),
        ),
        lambda: Model(lambda self, x: self.b(_pooled(self.a(x)).flatten(1)), a=nn.Conv2d(1, 2, 1), b=last(4)),
        shape=(1, 4, 4),
    ),
    inside("max over a dimension", lambda h: h + h.max(1, keepdim=True)[0], lambda h: h + _row_max(h)),
    # Normalizations
    normalization("BatchNorm, training", lambda: nn.BatchNorm1d(5), lambda h, g, s: normalized(h, (0,)) * g + s),
    normalization(
        "BatchNorm, evaluation",
        lambda: nn.BatchNorm1d(5),
        lambda h, g, s: h / math.sqrt(1 + 1e-5) * g + s,
        training=False,
    ),
    normalization(
        "BatchNorm without running statistics, evaluation",
        lambda: nn.BatchNorm1d(5, track_running_stats=False),
        lambda h, g, s: normalized(h, (0,)) * g + s,
        training=False,
    ),
    Specimen(
        "BatchNorm2d after a convolution",
        lambda: nn.Sequential(nn.Conv2d(1, 2, 2, bias=False), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), last(8)),
        lambda: Formula(
            lambda x, W, g, s, V, c: affine(
                tanh(normalized(convolved(x, W, kernel=2), (0, 2, 3)) * g[:, None, None] + s[:, None, None]).flatten(1),
                V,
                c,
            ),
            (2, 1, 4),
            (2,),
            (2,),
            (CLASSES, 8),
            (CLASSES,),
        ),
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.n(self.a(x))).flatten(1)),
            a=nn.Conv2d(1, 2, 2, bias=False),
            n=Formula(lambda h, g, s: normalized(h, (0, 2, 3)) * g[:, None, None] + s[:, None, None], (2,), (2,)),
            b=last(8),
        ),
        pairs_are_rounding=True,
        shape=(1, 3, 3),
    ),
    normalization("LayerNorm", lambda: nn.LayerNorm(5), lambda h, g, s: normalized(h, (1,)) * g + s),
    normalization("RMSNorm", lambda: nn.RMSNorm(5, eps=1e-5), lambda h, g: normalized(h, (1,), centred=False) * g),
    normalization(
        "GroupNorm",
        lambda: nn.GroupNorm(1, 5),
        lambda h, g, s: normalized(h, (1,)) * g + s,
    ),
    Specimen(
        "InstanceNorm2d",
        lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.InstanceNorm2d(2, affine=True), nn.Tanh(), nn.Flatten(), last(8)),
        lambda: Formula(
            lambda x, W, b, g, s, V, c: affine(
                tanh(normalized(convolved(x, W, b, kernel=2), (2, 3)) * g[:, None, None] + s[:, None, None]).flatten(1),
                V,
                c,
            ),
            (2, 1, 4),
            (2,),
            (2,),
            (2,),
            (CLASSES, 8),
            (CLASSES,),
        ),
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.n(self.a(x))).flatten(1)),
            a=nn.Conv2d(1, 2, 2),
            n=Formula(lambda h, g, s: normalized(h, (2, 3)) * g[:, None, None] + s[:, None, None], (2,), (2,)),
            b=last(8),
        ),
        pairs_are_rounding=True,
        shape=(1, 3, 3),
    ),
    Specimen(
        "weight_norm",
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(x))), a=parametrizations.weight_norm(nn.Linear(WIDTH, 5)), b=last()
        ),
        lambda: Formula(
            lambda x, b, g, v, V, c: affine(tanh(affine(x, g * v * (v * v).sum(1, keepdim=True) ** -0.5, b)), V, c),
            (5,),
            (5, 1),
            (5, WIDTH),
            *MLP[2:],
        ),
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(x))),
            a=Formula(
                lambda x, b, g, v: affine(x, g * v * (v * v).sum(1, keepdim=True) ** -0.5, b), (5,), (5, 1), (5, WIDTH)
            ),
            b=last(),
        ),
    ),
    Specimen(
        "spectral_norm, evaluation",
        _spectral,
        lambda: Formula(
            lambda x, b, W, V, c: affine(tanh(affine(x, _unit_gain(W), b)), V, c), (5,), (5, WIDTH), *MLP[2:]
        ),
        _with_last(lambda x, b, W: affine(x, _unit_gain(W), b), (5,), (5, WIDTH)),
        training=False,
    ),
    Specimen(
        "prune",
        _pruned,
        lambda: Formula(
            lambda x, b, W, V, c: affine(tanh(affine(x, W * (torch.arange(20).view(5, 4) % 3 > 0), b)), V, c),
            (5,),
            (5, WIDTH),
            *MLP[2:],
        ),
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(x))),
            a=Formula(lambda x, b, W: affine(x, W * (torch.arange(20).view(5, 4) % 3 > 0), b), (5,), (5, WIDTH)),
            b=last(),
        ),
    ),
    # Sequences
    recurrent("LSTM", nn.LSTM, lstm, gates=4),
    recurrent("GRU", nn.GRU, gru, gates=3),
    Specimen(
        "MultiheadAttention",
        lambda: Model(
            lambda self, x: self.o(self.r(x, x, x, need_weights=False)[0].mean(1)),
            r=nn.MultiheadAttention(4, 2, batch_first=True),
            o=last(4),
        ),
        lambda: Formula(
            lambda x, W, b, O, c, V, d: affine(self_attention(x, W, b, O, c).mean(1), V, d),
            *ATTENTION,
            (CLASSES, 4),
            (CLASSES,),
        ),
        lambda: Model(lambda self, x: self.o(self.r(x).mean(1)), r=Formula(self_attention, *ATTENTION), o=last(4)),
        shape=(3, 4),
    ),
    Specimen(
        "TransformerEncoderLayer",
        lambda: Model(lambda self, x: self.o(self.r(x).mean(1)), r=_encoder(), o=last(4)),
        lambda: Formula(
            lambda x, *p: affine(encoder_layer(x, *p[:-2]).mean(1), *p[-2:]),
            *ENCODER,
            (CLASSES, 4),
            (CLASSES,),
        ),
        lambda: Model(lambda self, x: self.o(self.r(x).mean(1)), r=Formula(encoder_layer, *ENCODER), o=last(4)),
        shape=(3, 4),
    ),
    Specimen(
        "ViT",
        _vit,
        lambda: plainly(_vit(), linear=False),
        lambda: plainly(_vit()),
        shape=(1, 2, 4),
        pairs_are_rounding=True,
    ),
    Specimen(
        "GPT",
        _gpt,
        lambda: plainly(_gpt(), linear=False),
        lambda: plainly(_gpt()),
        shape=(2,),
        words=CLASSES,
        loss=SequenceCrossEntropy(symbols=CLASSES),
        pairs_are_rounding=True,
    ),
    # Layers and weights used several times
    Specimen(
        "a layer called twice in a row",
        lambda: Model(lambda self, x: self.o(torch.tanh(self.a(torch.tanh(self.a(x))))), a=square(), o=last(4)),
        twice(),
        lambda: Model(_unrolled_by_one_call, a=square(), o=last(4)),
    ),
    Specimen(
        "one module twice in a Sequential",
        _one_module_twice,
        twice(),
        lambda: Model(_unrolled_by_one_call, a=square(), o=last(4)),
    ),
    Specimen(
        "a layer called on two parts of the input",
        lambda: Model(
            lambda self, x: self.o(torch.tanh(self.a(x[:, :2])) * torch.tanh(self.a(x[:, 2:]))),
            a=nn.Linear(2, 5),
            o=last(),
        ),
        lambda: Formula(
            lambda x, W, b, V, c: affine(affine_tanh(x[:, :2], W, b) * affine_tanh(x[:, 2:], W, b), V, c),
            (5, 2),
            *MLP[1:],
        ),
        lambda: Model(
            lambda self, x: self.o((lambda h: h[:, 0] * h[:, 1])(torch.tanh(self.a(x.view(-1, 2, 2))))),
            a=nn.Linear(2, 5),
            o=last(),
        ),
    ),
    Specimen(
        "samples and time in one dimension [N T, D]",
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(x.reshape(-1, 3))).view(len(x), 2, 5).mean(1)),
            a=nn.Linear(3, 5),
            b=last(),
        ),
        lambda: Formula(
            lambda x, W, b, V, c: affine(affine_tanh(x, W, b).mean(1), V, c), (5, 3), (5,), (CLASSES, 5), (CLASSES,)
        ),
        lambda: Model(lambda self, x: self.b(torch.tanh(self.a(x)).mean(1)), a=nn.Linear(3, 5), b=last()),
        shape=(2, 3),
    ),
    Specimen(
        "time before samples [T, N, D]",
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(x.transpose(0, 1))).mean(0)), a=nn.Linear(3, 5), b=last()
        ),
        lambda: Formula(
            lambda x, W, b, V, c: affine(affine_tanh(x, W, b).mean(1), V, c), (5, 3), (5,), (CLASSES, 5), (CLASSES,)
        ),
        lambda: Model(lambda self, x: self.b(torch.tanh(self.a(x)).mean(1)), a=nn.Linear(3, 5), b=last()),
        shape=(2, 3),
    ),
    Specimen(
        "as many times as samples, times first",
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(x.transpose(0, 1))).mean(0)), a=nn.Linear(3, 5), b=last()
        ),
        lambda: Formula(
            lambda x, W, b, V, c: affine(affine_tanh(x, W, b).mean(1), V, c), (5, 3), (5,), (CLASSES, 5), (CLASSES,)
        ),
        lambda: Model(lambda self, x: self.b(torch.tanh(self.a(x)).mean(1)), a=nn.Linear(3, 5), b=last()),
        shape=(N, 3),
    ),
    Specimen(
        "a weight used again by F.linear",
        lambda: Model(
            lambda self, x: self.o(F.linear(torch.tanh(self.a(x)), self.a.weight.T)), a=nn.Linear(WIDTH, 5), o=last(4)
        ),
        lambda: Formula(
            lambda x, W, b, V, c: affine(affine(affine_tanh(x, W, b), W.T), V, c),
            (5, 4),
            (5,),
            (CLASSES, 4),
            (CLASSES,),
        ),
        lambda: Model(
            lambda self, x: self.o(self.a(x)),
            a=Formula(lambda x, W, b: affine(affine_tanh(x, W, b), W.T), (5, 4), (5,)),
            o=last(4),
        ),
    ),
    Specimen(
        "two layers with one weight",
        _tied_modules,
        lambda: Formula(
            lambda x, W, b, d, V, c: affine(tanh(affine(affine_tanh(x, W, b), W, d)), V, c),
            (4, 4),
            (4,),
            (4,),
            (CLASSES, 4),
            (CLASSES,),
        ),
    ),
    Specimen(
        "a layer that only F.linear uses",
        lambda: Model(
            lambda self, x: F.linear(torch.tanh(self.a(x)), self.b.weight, self.b.bias), a=nn.Linear(WIDTH, 5), b=last()
        ),
        lambda: Formula(lambda x, W, b, V, c: affine(affine_tanh(x, W, b), V, c), *MLP),
        lambda: two_layers(lambda self, h: h),
    ),
    # How a model is put together
    Specimen(
        "a module with two names",
        _two_names,
        lambda: Formula(lambda x, W, b, V, c: affine(affine_tanh(x, W, b), V, c), *MLP),
        lambda: two_layers(lambda self, h: h),
    ),
    Specimen(
        "modules inside modules",
        lambda: nn.Sequential(
            nn.Sequential(nn.ModuleDict({"x": nn.Linear(WIDTH, 5)})["x"], nn.Tanh()), nn.Sequential(last())
        ),
        lambda: Formula(lambda x, W, b, V, c: affine(affine_tanh(x, W, b), V, c), *MLP),
        lambda: two_layers(lambda self, h: h),
    ),
    Specimen(
        "a layer that is not used",
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(x))), a=nn.Linear(WIDTH, 5), u=nn.Linear(2, 2), b=last()
        ),
        lambda: Formula(
            lambda x, W, b, A, a, V, c: affine(affine_tanh(x, W, b), V, c), *MLP[:2], (2, 2), (2,), *MLP[2:]
        ),
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.a(x))),
            a=nn.Linear(WIDTH, 5),
            u=nn.ParameterList([torch.zeros(2, 2), torch.zeros(2)]),
            b=last(),
        ),
    ),
    Specimen(
        "a frozen layer",
        _frozen,
        lambda: _frozen_formula(),
        lambda: _frozen_function(),
    ),
    Specimen(
        "a residual connection",
        lambda: Model(lambda self, x: self.o(x + torch.tanh(self.a(x))), a=square(), o=last(4)),
        lambda: Formula(
            lambda x, W, b, V, c: affine(x + affine_tanh(x, W, b), V, c), (4, 4), (4,), (CLASSES, 4), (CLASSES,)
        ),
        lambda: Model(lambda self, x: self.o(torch.add(torch.tanh(self.a(x)), x)), a=square(), o=last(4)),
    ),
    inside(
        "cat, stack, split, chunk",
        lambda h: torch.cat([*torch.stack(h.split([2, 3], 1)[1].chunk(3, 1)).unbind(0), h[:, :2]], 1),
        lambda h: h[:, [2, 3, 4, 0, 1]],
    ),
    Specimen(
        "layers called with keywords",
        lambda: Model(lambda self, x: self.b(input=torch.tanh(self.a(input=x))), a=nn.Linear(WIDTH, 5), b=last()),
        lambda: Formula(lambda x, W, b, V, c: affine(affine_tanh(x, W, b), V, c), *MLP),
        lambda: two_layers(lambda self, h: h),
    ),
    Specimen(
        "a subclass of Linear with another forward",
        lambda: nn.Sequential(Halved(WIDTH, 5), nn.Tanh(), last()),
        lambda: Formula(lambda x, W, b, V, c: affine(tanh(affine(x, 0.5 * W, b)), V, c), *MLP),
        _with_last(lambda x, W, b: affine(x, 0.5 * W, b), *MLP[:2]),
    ),
    Specimen(
        "a forward hook that changes the output",
        _hooked,
        lambda: Formula(lambda x, W, b, V, c: affine(tanh(2 * affine(x, W, b)), V, c), *MLP),
        _with_last(lambda x, W, b: 2 * affine(x, W, b), *MLP[:2]),
    ),
    Specimen(
        "activation checkpointing",
        lambda: Model(
            lambda self, x: self.b(checkpoint(lambda x: torch.tanh(self.a(x)), x, use_reentrant=False)),
            a=nn.Linear(WIDTH, 5),
            b=last(),
        ),
        lambda: Formula(lambda x, W, b, V, c: affine(affine_tanh(x, W, b), V, c), *MLP),
        lambda: two_layers(lambda self, h: h),
    ),
    inside("torch.autograd.Function", lambda h: Softsign.apply(h), lambda h: h / (1 + F.relu(h) + F.relu(-h))),
    Specimen(
        "a parameter of the model itself",
        lambda: _scaled(),
        lambda: Formula(lambda x, s, W, b, V, c: affine(tanh(s * affine(x, W, b)), V, c), (), *MLP),
        lambda: Model(
            lambda self, x: self.b(torch.tanh(self.s(self.a(x)))),
            s=Formula(lambda h, s: s * h, ()),
            a=nn.Linear(WIDTH, 5),
            b=last(),
        ),
    ),
    inside("a mean over the batch", lambda h: h - h.mean(0), lambda h: h - h.sum(0, keepdim=True) / len(h)),
    # Random numbers
    Specimen(
        "Dropout",
        lambda: two_layers(lambda self, h: self.n(h), n=nn.Dropout(0.5)),
        lambda: Formula(lambda x, W, b, V, c: affine(_masked(affine_tanh(x, W, b)), V, c), *MLP),
        lambda: two_layers(lambda self, h: _masked(h)),
    ),
    inside("F.dropout", lambda h: F.dropout(h, 0.5), _masked),
    inside("stochastic depth", _dropped_path, lambda h: torch.where(torch.rand(len(h), 1) < 0.5, h + tanh(h), h)),
    # Outputs
    Specimen(
        "a model that returns a tuple",
        lambda: Model(lambda self, x: (self.b(torch.tanh(self.a(x))), x), a=nn.Linear(WIDTH, 5), b=last()),
        lambda: Formula(lambda x, W, b, V, c: affine(affine_tanh(x, W, b), V, c), *MLP),
    ),
    Specimen(
        "a model that returns a dict",
        lambda: Model(lambda self, x: {"logits": self.b(torch.tanh(self.a(x)))}, a=nn.Linear(WIDTH, 5), b=last()),
        lambda: Formula(lambda x, W, b, V, c: affine(affine_tanh(x, W, b), V, c), *MLP),
    ),
]
