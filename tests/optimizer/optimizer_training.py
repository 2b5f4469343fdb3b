"""What the tests of optimizers share: four parameters, and the rules written anew."""

from __future__ import annotations

import numpy as np

from symbucket import optimizer
from symbucket.runtime.ndarray import NDArray

NAMES = {0: "fc_weight", 1: "fc_bias", 2: "bn_gamma", 3: "embed_weight"}
SHAPES = {0: (4, 3), 1: (4,), 2: (7,), 3: (90, 50)}


RULES = {
    "sgd": [{}, {"momentum": 0.9}],
    "nag": [{}, {"momentum": 0.9}],
    "adam": [{}],
    "adamax": [{}],
    "nadam": [{}],
    "rmsprop": [
        {"epsilon": 1e-4, "gamma2": 0.8},
        {"epsilon": 1e-4, "gamma2": 0.8, "centered": True, "clip_weights": 0.9},
    ],
    "adagrad": [{}],
    "adadelta": [{}],
    "ftrl": [{}],
    "signum": [{}, {"momentum": 0.0}, {"wd_lh": 0.1}],
}


class Formula:
    """The same rules in float64 numpy, one parameter after the other, nothing folded."""

    def __init__(self, name, learning_rate=0.01, **p):
        self.name, self.lr, self.p = name, learning_rate, p
        self.rescale_grad = p.get("rescale_grad", 1.0)
        self.clip_gradient = p.get("clip_gradient")
        self.m_schedule = 1.0
        self.state = {}

    def clip(self, x):
        c = self.clip_gradient
        return x if c is None else np.clip(x, -c, c)

    def __call__(self, index, t, w, g, lr, wd):
        w, g = w.astype(np.float64), self.rescale_grad * g.astype(np.float64)
        a, b, c = self.state.get(index, (np.zeros_like(w),) * 3)
        w, *self.state[index] = getattr(self, self.name)(t, w, g, lr, wd, a, b, c)
        return w

    def sgd(self, t, w, g, lr, wd, a, b, c):
        a = self.p.get("momentum", 0) * a - lr * (self.clip(g) + wd * w)
        return w + a, a, b, c

    def nag(self, t, w, g, lr, wd, a, b, c):
        mom, g = self.p.get("momentum", 0), self.clip(g)
        new = w + mom * mom * a - (1 + mom) * lr * (g + wd * w)
        return new, mom * a - lr * (g + wd * (new if mom else w)), b, c

    def adam(self, t, w, g, lr, wd, a, b, c):
        g = self.clip(g + wd * w)
        a, b = 0.9 * a + 0.1 * g, 0.999 * b + 0.001 * g * g
        lr = lr * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        return w - lr * a / (np.sqrt(b) + 1e-8), a, b, c

    def adamax(self, t, w, g, lr, wd, a, b, c):
        g = self.clip(g + wd * w)
        a, b = 0.9 * a + 0.1 * g, np.maximum(0.999 * b, abs(g))
        return w - lr / (1 - 0.9**t) * a / b, a, b, c

    def nadam(self, t, w, g, lr, wd, a, b, c):
        g = self.clip(g + wd * w)
        now = 0.9 * (1 - 0.5 * 0.96 ** (t * 0.004))
        later = 0.9 * (1 - 0.5 * 0.96 ** ((t + 1) * 0.004))
        self.m_schedule *= now
        a, b = 0.9 * a + 0.1 * g, 0.999 * b + 0.001 * g * g
        bar = (1 - now) * g / (1 - self.m_schedule) + later * a / (1 - self.m_schedule * later)
        return w - lr * bar / (np.sqrt(b / (1 - 0.999**t)) + 1e-8), a, b, c

    def rmsprop(self, t, w, g, lr, wd, a, b, c):
        g = self.clip(g + wd * w)
        a = 0.9 * a + 0.1 * g * g
        if self.p.get("centered"):
            b = 0.9 * b + 0.1 * g
            c = 0.8 * c - lr * g / np.sqrt(a - b * b + 1e-4)
            w = w + c
        else:
            w = w - lr * g / np.sqrt(a + 1e-4)
        bound = self.p.get("clip_weights")
        return w if bound is None else np.clip(w, -bound, bound), a, b, c

    def adagrad(self, t, w, g, lr, wd, a, b, c):
        g = self.clip(g)
        a = a + g * g
        return w - lr * (g / np.sqrt(a + 1e-7) + wd * w), a, b, c

    def adadelta(self, t, w, g, lr, wd, a, b, c):
        g = self.clip(g)
        a = 0.9 * a + 0.1 * g * g
        delta = np.sqrt(b + 1e-5) / np.sqrt(a + 1e-5) * g
        return w - delta - wd * w, a, 0.9 * b + 0.1 * delta * delta, c

    def ftrl(self, t, w, g, lr, wd, a, b, c):
        g = self.clip(g)
        n = a + g * g
        z = b + g - (np.sqrt(n) - np.sqrt(a)) * w / lr
        new = (np.sign(z) * 0.01 - z) / ((1 + np.sqrt(n)) / lr + wd) * (abs(z) > 0.01)
        return new, n, z, c

    def signum(self, t, w, g, lr, wd, a, b, c):
        mom, g = self.p.get("momentum", 0.9), self.clip(g)
        if mom == 0:
            return (1 - lr * wd) * w - lr * np.sign(g), a, b, c
        a = mom * a - (1 - mom) * (g + wd * w)
        return (1 - lr * self.p.get("wd_lh", 0)) * w + lr * np.sign(a), a, b, c


class Training:
    """Four parameters with gradients that depend on the weights, so that errors would feed back."""

    def __init__(self, made, seed=0):
        self.rng = np.random.default_rng(seed)
        self.updater = optimizer.get_updater(made)
        self.weights = [NDArray(self.rng.uniform(-1, 1, s)) for s in SHAPES.values()]
        self.grads = [NDArray.zeros(s) for s in SHAPES.values()]

    def step(self):
        for grad, weight in zip(self.grads, self.weights):
            noise = self.rng.normal(0, 1, weight.shape)
            grad[...] = (weight.view() - 0.3 + noise).astype(np.float32)
        self.updater(list(SHAPES), self.grads, self.weights)

    def values(self):
        return [w.asnumpy() for w in self.weights]
