"""Einsum of foreign graphs with an axis twice in one operand: the diagonal of these axes."""

from __future__ import annotations

from symbucket.ir import Expr
from symbucket.ops.foreign.call import Call, Results, translation
from symbucket.ops.record import Emitter


@translation("Einsum")
def _einsum(g: Emitter, call: Call) -> Results:
    equation = str(call.attr("equation")).replace(" ", "")
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if not arrow and any(_twice(term) for term in terms):
        letters = left.replace(",", "").replace(".", "")
        out = "..." * ("..." in left) + "".join(
            sorted(letter for letter in set(letters) if letters.count(letter) == 1)
        )
        arrow = "->"
    operands = [Expr(g, call.input(i)) for i in range(len(call.inputs))]
    for i, term in enumerate(terms):
        while letter := _twice(terms[i]):
            operands[i], terms[i] = _diagonal(operands[i], terms[i], letter)
        call.refuse(term.count(".") not in (0, 3), f"equation={equation!r}")
    first, *rest = operands
    return [first.op("Einsum", *rest, equation=f"{','.join(terms)}{arrow}{out}").value]


def _twice(term: str) -> str:
    """Return a letter that occurs twice; "" if there is none."""
    letters = term.replace(".", "")
    return next((letter for letter in letters if letters.count(letter) > 1), "")


def _diagonal(x: Expr, term: str, letter: str) -> tuple[Expr, str]:
    """Return x with two axes of equal size as one, the last, and the term without them."""
    before, _, after = term.partition("...")
    axes = [*before, *["..."] * (x.rank - len(before) - len(after)), *after]
    pair = [i for i, axis in enumerate(axes) if axis == letter][:2]
    rest = [i for i in range(x.rank) if i not in pair]
    size = x.shape[pair[0]]
    x = x.transpose([*rest, *pair])
    flat = x.reshape((*x.shape[:-2], size * size))
    diagonal = flat.op("Slice", [0], [size * size], [flat.rank - 1], [size + 1])
    first, second = [i for i, character in enumerate(term) if character == letter][:2]
    return diagonal, term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
