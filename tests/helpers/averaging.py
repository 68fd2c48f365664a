"""Schedule-Free SGD, an optimizer with a training mode and an evaluation mode."""

import torch


class ScheduleFreeSGD(torch.optim.Optimizer):
    """Schedule-Free SGD (Defazio et al., 2024), which keeps y in the parameters and z in its state.

    y_t = (1 - beta) z_t + beta x_t,  z_t+1 = z_t - lr grad f(y_t),  x_t+1 = (1 - 1/t) x_t + z_t+1 / t,  t = 1, 2, ...
    """

    def __init__(self, params, lr: float = 0.5, beta: float = 0.7):
        super().__init__(params, dict(lr=lr, beta=beta, t=0, training=False))

    @torch.no_grad()
    def eval(self):
        group = self.param_groups[0]
        for p in group["params"]:
            p.lerp_(self.state[p]["z"], 1 - 1 / group["beta"])  # x; before the first step there is no z
        group["training"] = False

    @torch.no_grad()
    def train(self):
        group = self.param_groups[0]
        for p in group["params"]:
            if not group["training"] and "z" in self.state[p]:
                p.lerp_(self.state[p]["z"], 1 - group["beta"])  # y
        group["training"] = True

    def step(self, f):
        group = self.param_groups[0]
        assert group["training"], "a step outside the training mode"
        loss = f()
        group["t"] += 1
        with torch.no_grad():
            for p in group["params"]:
                z = self.state[p].setdefault("z", p.detach().clone())
                x = p.lerp(z, 1 - 1 / group["beta"])
                z.sub_(p.grad, alpha=group["lr"])
                p.copy_(x.lerp_(z, 1 / group["t"]).lerp_(z, 1 - group["beta"]))
        return loss
