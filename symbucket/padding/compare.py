"""Results of two runs of one network compared, and the operator where they first differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    nodes = [[n for n in run.symbol.nodes() if n.op is not None] for run in (first, second)]
    values: list[dict[Node, list[Array]]] = []
    for run, own in zip((first, second), nodes):
        entries = [(n, i) for n in own for i in range(n.num_outputs)]
        flat = iter(run.values(entries, *params))
        values.append({n: [next(flat) for _ in range(n.num_outputs)] for n in own})
    kinds: dict[str, list[Node]] = {}
    for node in nodes[1]:
        assert node.op is not None
        kinds.setdefault(node.op.op_name, []).append(node)
    for node in nodes[0]:
        assert node.op is not None
        kind = node.op.op_name
        others = sorted(kinds.get(kind, []), key=lambda n: n.name != node.name)
        smallest: tuple[float, Node] | None = None
        for other in others:
            errors = []
            for value, candidate in zip(values[0][node], values[1][other]):
                aligned = padding.best(value, candidate)
                errors.append(None if aligned is None else aligned.error)
            comparable = [e for e in errors if e is not None]
            if len(comparable) < len(errors) or not comparable:
                continue
            if smallest is None or other.name == node.name:
                smallest = max(comparable), other
            if max(comparable) <= tolerance:
                smallest = 0.0, other
                break
        if smallest is not None and not smallest[0] <= tolerance:
            return (node.name, kind), _explained(
                node, smallest[1], (first.key, second.key), smallest[0]
            )
    for difference in differences:
        if difference.kind == "loss":
            (node,) = {n for n, _ in first.symbol.heads if n.name == difference.name}
            assert node.op is not None
            kind = node.op.op_name
            text = (
                f"All values of the forward pass agree where they are no padding; {node.name!r} "
                f"({kind}) makes a loss of padding too. {_HINTS.get(kind, _HINT)}"
            )
            return (node.name, kind), text
    return None, (
        "All values of the forward pass agree where they are no padding: padding gets gradients. "
        "Look for an output or a loss that is not masked."
    )


def _explained(node: Node, other: Node, keys: tuple[Any, Any], error: float) -> str:
    assert node.op is not None
    reads = [", ".join(repr(entry_name(e)) for e in n.inputs[:4]) for n in (node, other)]
    text = (
        f"The first operator whose valid values differ is {node.name!r} ({node.op.op_name}), by "
        f"{error:.2g} of its largest value. "
    )
    if reads[0] != reads[1]:
        text += f"It reads {reads[0]} for key {keys[0]!r} and {reads[1]} for key {keys[1]!r}. "
    of_a_step = node.op.op_name == "RNN" or _OF_A_STEP.search(node.name)
    if of_a_step or (reads[0] != reads[1] and _OF_A_STEP.search(reads[0])):
        return text + _RECURRENT
    return text + _HINTS.get(node.op.op_name, _HINT)
