"""The methods and curvature products of other packages behind one interface, for `peers.py`.

Each package is imported where it is used. `check` and the checks below compare what it computes with ours: factors and
statistics on the same batch up to scale, directions and products in full.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sobench.cli.bench.overhead import COMMON
from sobench.config.grid import expand
from sobench.linalg import cg
from sobench.losses import BinaryCrossEntropy, CrossEntropy
from sobench.objective import Objective
from sobench.objective.layers.matrices import grad_factor, input_factor
from sobench.training.trainer import Trainer

PERIOD = 20
"""Steps from one inverse to the next."""
DAMPING, DECAY, LR = 1.0, 0.9, 1e-6
"""Settings of every method that has them. The learning rate is so small that the model stays as it is."""
CG_DAMPING = 1e-3
"""Damping of a solve: so small that it does not end before its last iteration."""


class Rejected(Exception):
    """A package does not compute what its row says. The message is the reason."""


class Problem:
    """A model, its loss and its batches in plain torch."""

    def __init__(self, settings: Sequence[str]):
        run = expand([*COMMON, *settings, "optimizer=sgd"])[0]
        problem = Trainer(run).problem
        self.model, self.batch_size = problem.model, problem.batch_size
        self.parameters = list(self.model.parameters())
        self.binary = run.config["model"]["target"] == "input"
        inputs, labels = problem.train
        self.inputs, self.targets = inputs, inputs.flatten(1) if self.binary else labels
        self.criterion = F.binary_cross_entropy_with_logits if self.binary else F.cross_entropy
        self.module = nn.BCEWithLogitsLoss() if self.binary else nn.CrossEntropyLoss()
        self.scale = self.targets.shape[1] if self.binary else 1  # `loss` over `module`, a mean over the outputs too
        self._order = torch.randperm(0)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return self.criterion(self.model(x), y, reduction="sum") / len(x)

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.loss(x, y), self.parameters)

    def batch(self) -> tuple[Tensor, Tensor]:
        """The next batch of a random order of the samples."""
        if len(self._order) < self.batch_size:
            self._order = torch.randperm(len(self.inputs))
        index, self._order = self._order[: self.batch_size], self._order[self.batch_size :]
        return self.inputs[index], self.targets[index]

    def objective(self, x: Tensor, y: Tensor) -> Objective:
        return Objective(self.model, BinaryCrossEntropy() if self.binary else CrossEntropy(), (x, y))

    def fill(self, directions: Sequence[Tensor]) -> None:
        for p, direction in zip(self.parameters, directions):
            p.grad = direction.view_as(p)


# Steps


class Peer:
    """The bare loop of torch's SGD with momentum. A subclass is a method of a package, by `precondition` or `step`.

    differs: how the package differs from our method, for the table.
    """

    package, differs = "torch", ""

    def __init__(self, problem: Problem):
        self.problem = problem
        self.optimizer: Any = torch.optim.SGD(problem.parameters, lr=LR, momentum=0.9)

    def step(self, x: Tensor, y: Tensor) -> None:
        self.optimizer.zero_grad()
        self.precondition(x, y)
        self.optimizer.step()

    def precondition(self, x: Tensor, y: Tensor) -> None:
        """Fill the gradients of the parameters with a direction."""
        self.problem.loss(x, y).backward()

    def check(self, x: Tensor, y: Tensor) -> None:
        """Raise Rejected if the state after a step on this batch, from the present parameters, is wrong."""

    def seconds(self, steps: int) -> float:
        """The time of a step, from so many steps."""
        start = time.process_time()
        for _ in range(steps):
            self.step(*self.problem.batch())
        return (time.process_time() - start) / steps


class Asdl(Peer):
    """A gradient maker of asdfghjkl, imported as asdl."""

    package, reduction = "asdfghjkl", "sum"

    def __init__(self, problem: Problem):
        super().__init__(problem)
        precondition = importlib.import_module("asdl.precondition")
        config = precondition.PreconditioningConfig(
            data_size=problem.batch_size,
            damping=DAMPING,
            ema_decay=1 - DECAY,
            preconditioner_upd_interval=PERIOD,
            curvature_upd_interval=1,
        )
        self.made = self.make(precondition, config)

    def make(self, asdl: Any, config: Any) -> Any:
        raise NotImplementedError

    def precondition(self, x: Tensor, y: Tensor) -> None:
        outputs = self.made.setup_model_call(self.problem.model, x)
        self.made.setup_loss_call(self.problem.criterion, outputs, y, reduction=self.reduction)
        self.made.forward_and_backward()


class AsdlKFAC(Asdl):
    fisher = "fisher_mc"
    differs = "no factor for biases; autoencoder: normal samples, not Bernoulli"

    def make(self, asdl: Any, config: Any) -> Any:
        loss = "mse" if self.problem.binary else "cross_entropy"
        return asdl.KfacGradientMaker(self.problem.model, config, fisher_type=self.fisher, loss_type=loss)

    def check(self, x: Tensor, y: Tensor) -> None:
        factors = [module.fisher.kron for module in self.problem.model.modules() if hasattr(module, "fisher")]
        sampled = self.fisher == "fisher_mc"
        check_factors(self.problem, x, y, [k.A for k in factors], [] if sampled else [k.B for k in factors])


class AsdlEmpirical(AsdlKFAC):
    fisher = "fisher_emp"
    differs = "no factor for biases"


class Curvlinops(Peer):
    package, fisher = "curvlinops-for-pytorch", "mc"
    differs = "factors of one batch, no averages; further passes for the factors"

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self.curvlinops, self.steps = importlib.import_module("curvlinops"), 0

    def precondition(self, x: Tensor, y: Tensor) -> None:
        self.kfac = self.curvlinops.KFACLinearOperator(
            self.problem.model,
            self.problem.module,
            self.problem.parameters,
            [(x, y)],
            check_deterministic=False,
            seed=self.steps,
            fisher_type=self.fisher,
            num_per_example_loss_terms=1,
            separate_weight_and_bias=False,
            num_data=len(x),
        )
        self.kfac.compute_kronecker_factors()
        if self.steps % PERIOD == 0:
            inverse = self.curvlinops.KFACInverseLinearOperator
            self.inverse = inverse(self.kfac, damping=DAMPING, use_heuristic_damping=True)
        self.steps += 1
        self.problem.fill(self.inverse @ list(self.problem.gradient(x, y)))

    def check(self, x: Tensor, y: Tensor) -> None:
        A, B = self.kfac._input_covariances, self.kfac._gradient_covariances
        check_factors(self.problem, x, y, list(A.values()), [] if self.fisher == "mc" else [B[l] for l in A])


class CurvlinopsEmpirical(Curvlinops):
    fisher = "empirical"


class Singd(Peer):
    package = "singd"
    differs = "K-FAC without inverses: updates roots at every step by matrix products"

    def __init__(self, problem: Problem):
        super().__init__(problem)
        SINGD = importlib.import_module("singd.optim.optimizer").SINGD
        self.optimizer = SINGD(problem.model, lr=LR, momentum=0.9, T=1, kfac_like=True, alpha1=0.0, damping=DAMPING)


class AsdlKBFGS(Asdl):
    def make(self, asdl: Any, config: Any) -> Any:
        config.preconditioner_upd_interval = 1
        return asdl.KronBfgsGradientMaker(self.problem.model, config)

    def check(self, x: Tensor, y: Tensor) -> None:
        self.step(*self.problem.batch())  # which makes the first update of H_B
        H = next(module.bfgs.kron.B_inv for module in self.problem.model.modules() if hasattr(module, "bfgs"))
        if torch.equal(H, torch.eye(len(H))):
            raise Rejected("its inverses never change: `bfgs_inv_update_` updates a copy")


class AsdlShampoo(Asdl):
    differs = "biases not preconditioned; coupled Newton iteration"

    def make(self, asdl: Any, config: Any) -> Any:
        return asdl.ShampooGradientMaker(self.problem.model, config)

    def check(self, x: Tensor, y: Tensor) -> None:
        check_mode(self.problem, x, y, self.made.preconditioners[0].statistics[0])


class ByOptimizer(Peer):
    """A subclass of torch's Optimizer: `name` of the package with `settings`."""

    name: str
    settings: Mapping[str, Any]
    create_graph = False

    def __init__(self, problem: Problem):
        super().__init__(problem)
        optimizer = getattr(importlib.import_module(self.package), self.name)
        self.optimizer = optimizer(problem.parameters, lr=LR, **self.settings)

    def precondition(self, x: Tensor, y: Tensor) -> None:
        self.problem.loss(x, y).backward(create_graph=self.create_graph)

    def state(self) -> Mapping[str, Any]:
        """The state of the first parameter, a weight."""
        return self.optimizer.state[self.problem.parameters[0]]


class OldShampoo(ByOptimizer):
    package, name, mode = "torch_optimizer", "Shampoo", "precond_0"
    settings = dict(momentum=0.9, update_freq=PERIOD, epsilon=DAMPING)
    differs = "sums, not averages; power -1/k, not -1/(2k); SVD"

    def check(self, x: Tensor, y: Tensor) -> None:
        check_mode(self.problem, x, y, self.state()[self.mode])


class Shampoo(OldShampoo):
    package, mode = "pytorch_optimizer", "pre_cond_0"
    settings = dict(momentum=0.9, preconditioning_compute_steps=PERIOD, matrix_eps=DAMPING)
    differs = "`Shampoo`: sums, not averages; SVD"


class ScalableShampoo(ByOptimizer):
    package, name = "pytorch_optimizer", "ScalableShampoo"
    settings = dict(betas=(0.9, DECAY), start_preconditioning_step=1, preconditioning_compute_steps=PERIOD)
    settings |= dict(block_size=1024, shape_interpretation=False, graft_type=0, nesterov=False)
    differs = "`ScalableShampoo`, whole matrices, no grafting: biases not preconditioned; coupled Newton iteration"

    def check(self, x: Tensor, y: Tensor) -> None:
        check_mode(self.problem, x, y, self.state()["pre_conditioner"].statistics[0])


class OldAdaHessian(ByOptimizer):
    package, name, create_graph = "torch_optimizer", "Adahessian", True
    settings = dict(hessian_power=1.0)


class AdaHessian(OldAdaHessian):
    package, name = "pytorch_optimizer", "AdaHessian"


class AsdlSMW(Asdl):
    reduction = "mean"
    differs = "fixed damping, so no forward pass to adapt it"

    def make(self, asdl: Any, config: Any) -> Any:
        config = asdl.SmwEmpNaturalGradientConfig(data_size=self.problem.batch_size, damping=DAMPING)
        return asdl.SmwEmpNaturalGradientMaker(self.problem.model, config)

    def check(self, x: Tensor, y: Tensor) -> None:
        samples = [self.problem.gradient(x[[n]], y[[n]]) for n in range(len(x))]
        J = torch.stack([torch.cat([g.flatten() for g in gradients]) for gradients in samples])
        g, K = J.mean(0), J @ J.T + len(x) * DAMPING * torch.eye(len(x))
        self.optimizer.zero_grad()
        self.precondition(x, y)
        p = torch.cat([p.grad.flatten() for p in self.problem.parameters])
        check_close("direction", p, (g - J.T @ torch.linalg.solve(K, J @ g)) / DAMPING)


# Products: from a problem, a batch and a vector to the call that is measured

Call = Callable[[], Any]


def operator(name: str, problem: Problem, x: Tensor, y: Tensor) -> Any:
    """A matrix of curvlinops."""
    arguments = problem.model, problem.module, problem.parameters, [(x, y)]
    return getattr(importlib.import_module("curvlinops"), name)(*arguments, check_deterministic=False, num_data=len(x))


def our_product(matrix: str, problem: Problem, x: Tensor, y: Tensor, v: list[Tensor]) -> Call:
    A, flat = getattr(problem.objective(x, y), matrix)(), flattened(v)
    return lambda: A @ flat


def curvlinops_product(name: str, problem: Problem, x: Tensor, y: Tensor, v: list[Tensor]) -> Call:
    A = operator(name, problem, x, y)
    return lambda: A @ v


def backpack_ggn(problem: Problem, x: Tensor, y: Tensor, v: list[Tensor]) -> Call:
    outputs = problem.model(x)
    product = importlib.import_module("backpack.hessianfree.ggnvp").ggn_vector_product
    return lambda: product(problem.module(outputs, y), outputs, problem.model, v)


def pyhessian(problem: Problem, x: Tensor, y: Tensor, v: list[Tensor]) -> Call:
    H = importlib.import_module("pyhessian").hessian(problem.model, problem.module, data=(x, y), cuda=False)
    product = importlib.import_module("pyhessian.utils").hessian_vector_product
    return lambda: product(H.gradsH, H.params, v)


def our_solve(problem: Problem, x: Tensor, y: Tensor, v: list[Tensor], iterations: int) -> Call:
    A, b = problem.objective(x, y).ggn() + CG_DAMPING, flattened(v)
    if (made := cg(A, b, max_iterations=iterations, tol=0.0).iterations) < iterations:
        raise Rejected(f"stops after {made} iterations")
    return lambda: cg(A, b, max_iterations=iterations, tol=0.0).x


def curvlinops_solve(problem: Problem, x: Tensor, y: Tensor, v: list[Tensor], iterations: int) -> Call:
    G, shapes = operator("GGNLinearOperator", problem, x, y), [p.shape for p in problem.parameters]
    I = importlib.import_module("curvlinops.examples").IdentityLinearOperator(shapes, G.device, G.dtype)
    inverse = importlib.import_module("curvlinops").CGInverseLinearOperator
    solve = inverse(
        G + I * (CG_DAMPING / problem.scale), max_iter=iterations, max_tridiag_iter=iterations, tolerance=0.0
    )
    return lambda: solve @ v


def seconds(call: Call, repeat: int) -> float:
    """The time of a call, from so many."""
    start = time.process_time()
    for _ in range(repeat):
        call()
    return (time.process_time() - start) / repeat


# Checks


def flattened(tensors: Tensor | Sequence[Tensor]) -> Tensor:
    return tensors if isinstance(tensors, Tensor) else torch.cat([t.detach().flatten() for t in tensors])


def check_close(name: str, value: Tensor, expected: Tensor, tolerance: float = 1e-3) -> None:
    error = ((value - expected).norm() / expected.norm()).item()
    if not error < tolerance:
        raise Rejected(f"its {name} differs from ours by {100 * error:.2g} %")


def check_matrix(name: str, value: Tensor, expected: Tensor) -> None:
    """Compare directions in the space of matrices, without the diagonals, which may contain a damping."""
    value, expected = (M - M.diag().diag() for M in (value, expected))
    check_close(name, value / value.norm(), expected / expected.norm())


def check_factors(problem: Problem, x: Tensor, y: Tensor, A: Sequence[Tensor], B: Sequence[Tensor]) -> None:
    """Compare the input factors A, with or without the biases' row, and the output factors B with ours, by layer."""
    f = problem.objective(x, y)
    with f.record() as layers:
        f.propagate()
    records = [layers[l] for l in f.matrices.names]
    for value, record in zip(A, records, strict=True):
        check_matrix("factor A", value, input_factor(record)[: len(value), : len(value)])
    for value, record in zip(B, records, strict=False):
        check_matrix("factor B", value, grad_factor(record))


def check_mode(problem: Problem, x: Tensor, y: Tensor, statistic: Tensor) -> None:
    """Compare the statistic of the first weight's first mode with G G'."""
    G = problem.gradient(x, y)[0].flatten(1)
    check_matrix("statistic", statistic, G @ G.T)


def checked(peer: type[Peer], problem: Problem) -> Peer:
    """The method after `check` and its first period. Raises Rejected, or what the package raises."""
    made, before, batch = peer(problem), [p.detach().clone() for p in problem.parameters], problem.batch()
    made.step(*batch)
    with torch.no_grad():
        for p, old in zip(problem.parameters, before):
            p.copy_(old)
    made.check(*batch)
    for _ in range(PERIOD - 1):
        made.step(*problem.batch())
    after = flattened(problem.parameters)
    if torch.equal(flattened(before), after) or not after.isfinite().all():
        raise Rejected("its parameters do not move, or do not stay finite")
    return made
