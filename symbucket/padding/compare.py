"""Results of two runs of one network compared, and the operator where they first differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbucket import seeding
from symbucket.errors import DataError
from symbucket.padding.align import Padding, error_of
from symbucket.padding.loss import loss_of
from symbucket.padding.network_run import NetworkRun
from symbucket.symbol.node import Node
from symbucket.symbol.symbol import entry_name
from symbucket.types import Array

_HINTS = {
    "BatchNorm": "Its mean and variance count padded rows. Normalise over channels instead "
    "(LayerNorm), or let only rows that are no padding reach it.",
    "softmax": "Padding takes part in it: softmax(..., length, use_length=True).",
    "SequenceLast": "Give it the lengths: use_sequence_length=True.",
    "SequenceReverse": "Give it the lengths: use_sequence_length=True.",
    "mean": "It counts padding. Mask with SequenceMask, sum, and divide by the lengths.",
    "sum": "It adds padding. Mask with SequenceMask before.",
    "max": "Padding takes part in it. Mask with SequenceMask(value=-1e30) before.",
    "SoftmaxOutput": "Padded rows count in it: use_ignore=True, ignore_label=the label of padding, "
    'normalization="valid".',
}
_RECURRENT = (
    "A recurrent cell goes on into padding, or begins there: unroll(..., valid_length=lengths), "
    "with the lengths as one more input (BucketSentenceIter(lengths=True) gives them). Outputs are "
    "then masked, states are those after each sequence's last step, and backward cells begin there."
)
_OF_A_STEP = re.compile(r"_t\d+_")  # in the names of the nodes of an unrolled step
_HINT = "Mask what it reads (SequenceMask, where), or read each row at its own length."


@dataclass(frozen=True)
class Difference:
    """A result that padding changes: ``kind`` is "loss", "output", "gradient" or "auxiliary".

    ``error`` is the largest difference, relative to the largest value of the shorter key.
    """

    kind: str
    name: str
    error: float

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} differs by {self.error:.2g} of its largest value"


def fill_heads(first: NetworkRun, second: NetworkRun, padding: Padding, seed: int) -> None:
    """Give both runs the same random head gradients: none for losses, zeros for padding."""
    rng = seeding.stream("check_padding heads", seed=seed)
    for (node, _), short, long in zip(
        first.symbol.heads, first.executor.outputs, second.executor.outputs
    ):
        if node.op is not None and node.op.is_loss and not getattr(node.op, "out_grad", False):
            first.heads.append(None)
            second.heads.append(None)
            continue
        aligned = padding.best(short.asnumpy(), long.asnumpy())
        head, other = np.zeros(short.shape, np.float32), np.zeros(long.shape, np.float32)
        if aligned is not None:
            head = np.where(aligned.valid, rng.uniform(-1, 1, short.shape), 0).astype(np.float32)
            other[aligned.index] = head
        first.heads.append(head)
        second.heads.append(other)


def compare_results(
    first: NetworkRun, second: NetworkRun, padding: Padding, tolerance: float
) -> list[Difference]:
    """Return the results that differ by more than ``tolerance``, relative to the largest value."""
    differences: list[Difference] = []

    def compare(kind: str, name: str, error: float) -> None:
        if not error <= tolerance:
            differences.append(Difference(kind, name, error))

    names = first.symbol.list_outputs()
    if names != second.symbol.list_outputs():
        raise DataError(
            f"check_padding: the outputs of {first.key!r} are {', '.join(names)}, those of "
            f"{second.key!r} {', '.join(second.symbol.list_outputs())}; they must have one meaning"
        )
    for i, head in enumerate(first.symbol.heads):
        losses = [_loss(run, i) for run in (first, second)]
        if losses[0] is not None and losses[1] is not None:
            compare("loss", head[0].name, error_of(*map(np.float64, losses)))
            continue
        values = [run.executor.outputs[i].asnumpy() for run in (first, second)]
        aligned = padding.best(*values)
        # Axes that follow no axis of the data: there is nothing that could be compared.
        if aligned is not None:
            compare("output", names[i], aligned.error)
    grads = {name: grad.asnumpy() for name, grad in first.executor.grads.items()}
    # A gradient that is zero in exact arithmetic (the bias of a key in attention) is rounding.
    largest = max((_largest(g) for g in grads.values()), default=0.0)
    rounding = 16 * np.finfo(np.float32).eps * largest
    for name, grad in grads.items():
        if name in second.executor.grads:
            other = second.executor.grads[name].asnumpy()
            if not all(_largest(g) <= rounding for g in (grad, other)):  # NaN is no rounding
                compare("gradient", name, error_of(grad, other))
    for name, state in first.executor.aux_dict.items():
        if name in second.executor.aux_dict:
            new = second.executor.aux_dict[name].asnumpy()
            compare("auxiliary", name, error_of(state.asnumpy(), new))
    return differences


def _largest(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0.0))


def _loss(run: NetworkRun, i: int) -> float | None:
    node, _ = run.symbol.heads[i]
    if node.op is None:
        return None
    label = None
    if "label" in node.op.arguments():
        entry = node.inputs[node.op.arguments().index("label")]
        params = {n: a.asnumpy() for n, a in run.executor.arg_dict.items() if n not in run.arrays}
        (label,) = run.values([entry], params, None)
    return loss_of(node.op, run.executor.outputs[i].asnumpy(), label)


def find_first_difference(
    first: NetworkRun,
    second: NetworkRun,
    params: tuple[Any, Any],
    padding: Padding,
    tolerance: float,
    differences: Sequence[Difference],
) -> tuple[tuple[str, str] | None, str]:
    """Return (name, kind) of the first operator whose valid values differ, and an explanation."""
    operators = [[n for n in run.symbol.nodes() if n.op is not None] for run in (first, second)]
    values = [_values(run, nodes, params) for run, nodes in zip((first, second), operators)]
    for node in operators[0]:
        same_kind = [n for n in operators[1] if _kind(n) == _kind(node)]
        others = {n: values[1][n] for n in sorted(same_kind, key=lambda n: n.name != node.name)}
        closest = _closest_of_different(values[0][node], others, padding, tolerance)
        if closest is not None:
            error, other = closest
            text = _explained(node, other, (first.key, second.key), error)
            return (node.name, _kind(node)), text
    for difference in differences:
        if difference.kind == "loss":
            (node,) = {n for n, _ in first.symbol.heads if n.name == difference.name}
            text = (
                f"All values of the forward pass agree where they are no padding; {node.name!r} "
                f"({_kind(node)}) makes a loss of padding too. {_HINTS.get(_kind(node), _HINT)}"
            )
            return (node.name, _kind(node)), text
    return None, (
        "All values of the forward pass agree where they are no padding: padding gets gradients. "
        "Look for an output or a loss that is not masked."
    )


def _kind(node: Node) -> str:
    assert node.op is not None
    return node.op.op_name


def _values(
    run: NetworkRun, nodes: Sequence[Node], params: tuple[Any, Any]
) -> dict[Node, list[Array]]:
    """Return the outputs of each node."""
    entries = [(node, i) for node in nodes for i in range(node.num_outputs)]
    flat = iter(run.values(entries, *params))
    return {node: [next(flat) for _ in range(node.num_outputs)] for node in nodes}


def _closest_of_different(
    values: Sequence[Array],
    others: Mapping[Node, Sequence[Array]],
    padding: Padding,
    tolerance: float,
) -> tuple[float, Node] | None:
    """Return the error of the first node whose values can be compared, and that node.

    None if some node has the same values, or none has any that can be compared.
    """
    closest: tuple[float, Node] | None = None
    for other, candidates in others.items():
        aligned = [padding.best(*pair) for pair in zip(values, candidates)]
        errors = [each.error for each in aligned if each is not None]
        if not errors or len(errors) < len(aligned):
            continue
        error = max(errors)
        if error <= tolerance:
            return None
        closest = closest or (error, other)
    return closest


def _explained(node: Node, other: Node, keys: tuple[Any, Any], error: float) -> str:
    reads = [", ".join(repr(entry_name(e)) for e in n.inputs[:4]) for n in (node, other)]
    text = (
        f"The first operator whose valid values differ is {node.name!r} ({_kind(node)}), by "
        f"{error:.2g} of its largest value. "
    )
    if reads[0] != reads[1]:
        text += f"It reads {reads[0]} for key {keys[0]!r} and {reads[1]} for key {keys[1]!r}. "
    of_a_step = _kind(node) == "RNN" or _OF_A_STEP.search(node.name)
    if of_a_step or (reads[0] != reads[1] and _OF_A_STEP.search(reads[0])):
        return text + _RECURRENT
    return text + _HINTS.get(_kind(node), _HINT)
