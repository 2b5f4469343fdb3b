"""Activations of recurrent nodes, by the names that the ONNX standard gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from symbucket.ir import Expr
from symbucket.ir.expr import tanh
from symbucket.ops.foreign.call import Call

Activation = Callable[[Expr], Expr]


def _plain(op_type: str) -> Callable[[float, float], Activation]:
    return lambda alpha, beta: lambda x: x.op(op_type)


def _with_alpha(op_type: str) -> Callable[[float, float], Activation]:
    return lambda alpha, beta: lambda x: x.op(op_type, alpha=alpha)


# Name: how it is made of alpha and beta, and their defaults (None: it has no such setting).
_KINDS: dict[str, tuple[Callable[[float, float], Activation], float | None, float | None]] = {
    "affine": (lambda alpha, beta: lambda x: x * alpha + beta, 1.0, 0.0),
    "elu": (_with_alpha("Elu"), 1.0, None),
    "hardsigmoid": (
        lambda alpha, beta: lambda x: x.op("HardSigmoid", alpha=alpha, beta=beta),
        0.2,
        0.5,
    ),
    "leakyrelu": (_with_alpha("LeakyRelu"), 0.01, None),
    "relu": (_plain("Relu"), None, None),
    "scaledtanh": (lambda alpha, beta: lambda x: tanh(x * beta) * alpha, 1.0, 1.0),
    "sigmoid": (_plain("Sigmoid"), None, None),
    "softplus": (_plain("Softplus"), None, None),
    "softsign": (_plain("Softsign"), None, None),
    "tanh": (_plain("Tanh"), None, None),
    "thresholdedrelu": (
        lambda alpha, beta: lambda x: x * (x > alpha).cast(x.dtype),
        1.0,
        None,
    ),
}


def activations_of(
    call: Call, default: Sequence[str], directions: int
) -> list[Sequence[Activation]]:
    """Return the activations of each direction of a recurrent node.

    Those that take settings take the next of ``activation_alpha`` and ``activation_beta``.
    """
    names = [str(name) for name in call.attr("activations") or [*default] * directions]
    count = len(default)
    call.refuse(len(names) != count * directions, f"{len(names)} activations {names}")
    alphas, betas = (iter(call.attr(f"activation_{kind}") or ()) for kind in ("alpha", "beta"))
    activations = []
    for name in names:
        call.refuse(name.lower() not in _KINDS, f"the activation {name}")
        make, alpha, beta = _KINDS[name.lower()]
        activations.append(make(_setting(alphas, alpha), _setting(betas, beta)))
    return [activations[d * count : (d + 1) * count] for d in range(directions)]


def _setting(values: Iterator[float], default: float | None) -> float:
    return 0.0 if default is None else float(next(values, default))
