"""Writes ``docs/operators.md`` from the operator records.

    python tools/operator_docs.py           # write the page
    python tools/operator_docs.py --check   # exit code 1 and the differences, if it is stale

Names, inputs, outputs, attributes and descriptions are those of the records. Where a gradient
flows is measured: each operator is lowered and differentiated on the inputs that its tests use.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import re
import sys
import typing
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operators.md"
sys.path[:0] = [str(ROOT)]

import symbucket as sb  # noqa: E402
from symbucket import ops  # noqa: E402
from symbucket.compiler.autodiff.differentiate import differentiate  # noqa: E402
from symbucket.compiler.lower import lower  # noqa: E402
from symbucket.errors import SymbucketError  # noqa: E402
from symbucket.ops.attributes import describe  # noqa: E402
from symbucket.ops.distributions import DISTRIBUTIONS  # noqa: E402
from symbucket.symbol.functions import shape_texts  # noqa: E402
from tests.ops.op_cases import CASES  # noqa: E402

Record = type[ops.Operator]
Shapes = Mapping[str, tuple[int, ...]]

INTRODUCTION = """\
# Operators

This page is written by `tools/operator_docs.py` from the operator records in `symbucket/ops`. Do
not edit it; a test checks that it is up to date. `help(sb.sym.NAME)` shows the same in Python.

How to read it:

* An **input** in brackets is there with some attribute values only. Weights and other parameters
  that you do not pass become variables with automatic names, such as `fc1_weight`.
* **Shapes** are written as `input (sizes), ... -> (sizes)`: a name is one size, a starred name any
  number of sizes, and the name of an attribute stands for its value.
* **Formula**: x is the first input, y the output, a name an input or an attribute. An index that is
  left out runs over all places, `dx` is a gradient that is not that of the formula, p and P are a
  density and a probability.
* **Example**: functions are those of `sb.nd`, and a list stands for an array: `abs([-1, 2])` is
  `sb.nd.abs(sb.nd.array([-1, 2]))`. The same names in `sb.sym` make networks. Results have four
  digits.
* An **auxiliary state** is a value that the step itself updates, such as a running mean. No
  gradient flows to it.
* **Gradient** names the inputs that a gradient flows to. A gradient that is zero almost everywhere
  counts as none. A *loss* has its own gradient and ignores what comes from above.
* An attribute without a default is marked *required*.

Arithmetic on symbols (`a + b`, `a * 2.0`, `a > b`) makes the operators of the last section.
"""

FURTHER = ("Formula", "Example")
HIDDEN_TITLE = "Operators behind arithmetic"

_SQUARE: Shapes = {"data": (2, 3), "label": (2, 3)}
_LABELS: Shapes = {"data": (2, 3), "label": (2,)}

# Operators and inputs that the cases leave out, with small shapes.
SAMPLES: dict[str, tuple[dict[str, Any], Shapes]] = {
    "Deconvolution": (
        {"kernel": (2,), "num_filter": 3, "no_bias": False},
        {"data": (1, 2, 4), "weight": (2, 3, 2), "bias": (3,)},
    ),
    "BlockGrad": ({}, {"data": (2, 3)}),
    "Dropout": ({}, {"data": (2, 3)}),
    "LinearRegressionOutput": ({}, _SQUARE),
    "LogisticRegressionOutput": ({}, _SQUARE),
    "MAERegressionOutput": ({}, _SQUARE),
    "MakeLoss": ({}, {"data": (2, 3)}),
    "SoftmaxOutput": ({}, _LABELS),
    "_arange": ({"stop": 3}, {}),
    "SVMOutput": ({}, _LABELS),
    "_eye": ({"N": 2}, {}),
    "_linalg_potrf": ({}, {"A": (2, 2)}),
    "_linspace": ({"start": 0.0, "stop": 1.0, "num": 3}, {}),
    "_full": ({"shape": (2,), "value": 1.0}, {}),
    "_ones": ({"shape": (2,)}, {}),
    "_random_randint": ({"low": 0, "high": 3, "shape": (2,)}, {}),
    "_sample_multinomial": ({"get_prob": True}, {"data": (2, 3)}),
    "_shuffle": ({}, {"data": (2, 3)}),
    "_zeros": ({"shape": (2,)}, {}),
    "one_hot": ({"depth": 3}, {"indices": (2,)}),
}
for _name, _distribution in DISTRIBUTIONS.items():
    _shapes = dict.fromkeys(_distribution.defaults, (2,))
    SAMPLES[f"_random_{_name}"] = ({"shape": (2,)}, {})
    SAMPLES[f"_random_{_name}_like"] = ({}, {"data": (2,)})
    SAMPLES[f"_sample_{_name}"] = ({}, _shapes)
# Their inputs and gradients are those of the graph that they hold.
OPEN = {"_onnx_graph", "_foreach", "_while_loop", "_cond", "Custom"}


@dataclass
class Observation:
    """What the samples of one operator showed."""

    inputs: dict[str, int] = field(default_factory=dict)  # in how many samples
    auxiliary: list[str] = field(default_factory=list)
    outputs: dict[str, int] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    possible: set[str] = field(default_factory=set)
    samples: int = 0


def records() -> list[Record]:
    """Every operator once."""
    return list({ops.find(name): None for name in ops.names()})


def samples() -> Iterator[tuple[Record, dict[str, Any], Shapes]]:
    """Attributes and input shapes of every case."""
    for case in CASES:
        arrays = case.make(0)
        yield ops.find(case.op), dict(case.attrs), {n: np.shape(a) for n, a in arrays.items()}
    for name, (attrs, shapes) in SAMPLES.items():
        yield ops.find(name), attrs, shapes


def explore() -> dict[Record, Observation]:
    """Lower and differentiate every sample."""
    observed: dict[Record, Observation] = defaultdict(Observation)
    for record, attrs, shapes in samples():
        seen = observed[record]
        if record.variadic:
            attrs.setdefault("num_args", len(shapes))
        op = record.make(attrs)
        seen.samples += 1
        for name in op.arguments():
            seen.inputs[name] = seen.inputs.get(name, 0) + 1
        for name in op.outputs():
            seen.outputs[name] = seen.outputs.get(name, 0) + 1
        seen.auxiliary = list(op.auxiliary())
        seen.possible.update(_possible(op))
        names = [*op.arguments(), *op.auxiliary()]
        sizes = dict(zip(names, shapes.values()))
        seen.reached |= reached(record, attrs, sizes, op.arguments())
    for record, seen in observed.items():
        unseen = [] if record.variadic else sorted(seen.possible - set(seen.inputs))
        if unseen:
            raise SystemExit(f"{record.op_name}: no sample has {', '.join(unseen)}; add one")
        declared = set(record.inputs() or {}) - set(record.no_gradient)
        if record.inputs() is not None and seen.reached != declared:
            raise SystemExit(
                f"{record.op_name}: a gradient flows to {sorted(seen.reached)}, but by its "
                f"no_gradient to {sorted(declared)}; correct the record"
            )
    return observed


def _possible(op: ops.Operator) -> Iterator[str]:
    """The inputs that it has with some values of its attributes."""
    for name, annotation in op.fields().items():
        choices = (True, False) if annotation is bool else typing.get_args(annotation)
        for choice in choices if annotation is bool or _is_choice(annotation) else ():
            with contextlib.suppress(SymbucketError):  # does not go with the other attributes
                yield from dataclasses.replace(op, **{name: choice}).arguments()


def _is_choice(annotation: Any) -> bool:
    return typing.get_origin(annotation) is typing.Literal


def reached(
    record: Record, attrs: Mapping[str, Any], shapes: Shapes, arguments: Sequence[str]
) -> set[str]:
    """The arguments that have a gradient in a small network of this operator alone."""
    variables = [sb.sym.Variable(n) for n in shapes]
    plain = {n: v for n, v in attrs.items() if n != "num_args"}
    symbol = getattr(sb.sym, record.op_name)(*variables, name="x", **plain)
    dtypes = {n: np.dtype(np.float32) for n in shapes}
    lowered = lower(symbol, shapes, dtypes, True, "sample")
    g = lowered.emitter
    heads = {v: g.filled(v.shape.numpy(), 1.0, v.dtype) for v in lowered.outputs if _is_float(v)}
    targets = {n: lowered.variables[n] for n in arguments}
    gradients = differentiate(g, lowered.outputs, heads, list(targets.values()))
    return {n for n, value in targets.items() if value in gradients}


def _is_float(value: Any) -> bool:
    return bool(value.dtype.is_floating_point())


def page() -> str:
    """The whole page."""
    observed = explore()
    families: dict[str, list[Record]] = defaultdict(list)
    for record in records():
        hidden = all(n.startswith("_") for n in written(record))
        families[HIDDEN_TITLE if hidden else _family(record)].append(record)
    parts = [INTRODUCTION]
    for title in (*sorted(families.keys() - {HIDDEN_TITLE}), HIDDEN_TITLE):
        members = sorted(families.get(title, []), key=lambda r: written(r)[0].lower())
        if not members:
            continue
        parts.append(f"## {title}\n")
        short = [r for r in members if title == HIDDEN_TITLE or not r.fields()]
        parts += [_entry(r, observed[r]) for r in members if r not in short]
        if short:
            parts.append(_table(short, observed, attributes=title == HIDDEN_TITLE))
    return "\n".join(parts)


def _family(record: Record) -> str:
    """The title of the section: ``FAMILY`` of the record's module."""
    module = sys.modules[record.__module__]
    if not hasattr(module, "FAMILY"):
        raise SystemExit(f"{module.__name__} has no FAMILY, the title of its section on the page")
    return str(module.FAMILY)


def written(record: Record) -> list[str]:
    """The names of an operator as users write them: ``contrib.quadratic`` for one of a module."""
    names = []
    for name in (record.op_name, *record.aliases):
        for module in ("contrib", "image", "linalg"):
            if name.startswith(f"_{module}_"):
                name = f"{module}.{name.removeprefix(f'_{module}_')}"
        names.append(name)
    return sorted(names, key=lambda name: name.startswith("_"))


def _entry(record: Record, seen: Observation) -> str:
    name, *others = written(record)
    lines = [f"### `{name}`\n"]
    if others:
        lines.append(f"Also called {_code(others)}.\n")
    lines.append(_summary(record) + "\n")
    lines.append(f"* Inputs: {_inputs(record, seen)}. Outputs: {_outputs(record, seen)}.")
    if record.op_name not in OPEN:
        lines.append(f"* Shapes: {_shapes(record)}.")
    lines += [f"* {label}: {text}." for label, text in _formula_and_example(record).items()]
    if seen.auxiliary:
        lines.append(f"* Auxiliary states: {_code(seen.auxiliary)}.")
    lines += [f"* {text}." for text in _attributes(record)]
    lines.append(f"* Gradient: {_gradient(record, seen)}.\n")
    return "\n".join(lines)


def _table(
    members: Sequence[Record], observed: Mapping[Record, Observation], attributes: bool
) -> str:
    head = ["name", "shapes", *(["attributes"] if attributes else []), "gradient", "result"]
    head += [label.lower() for label in FURTHER]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for record in members:
        seen = observed[record]
        shapes = _inputs(record, seen) if record.op_name in OPEN else _shapes(record)
        cells = [_code(written(record)), shapes]
        if attributes:
            cells.append("; ".join(_attributes(record)))
        more = _formula_and_example(record)
        result = _summary(record).replace("; element by element.", ".")
        cells += [_gradient(record, seen), result, *(more.get(h, "") for h in FURTHER)]
        lines.append(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in cells)} |")
    return "\n".join(lines) + "\n"


def _formula_and_example(record: Record) -> dict[str, str]:
    """Both as Markdown, by label; operators that hold graphs have neither."""
    if record.op_name in OPEN:
        return {}
    if not (record.formula and record.example):
        raise SystemExit(f"{record.op_name} has no formula or no example; add them to its record")
    call, _, result = record.example.partition(" -> ")
    return dict(zip(FURTHER, (f"`{record.formula}`", f"`{call}` is `{result}`")))


def _shapes(record: Record) -> str:
    return " or ".join(f"`{text}`" for text in shape_texts(record))


def _code(names: Sequence[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)


def _summary(record: Record) -> str:
    """The first paragraph of the docstring."""
    first = (record.__doc__ or "").strip().partition("\n\n")[0]
    return " ".join(first.split()).replace("``", "`")


def _inputs(record: Record, seen: Observation) -> str:
    if record.op_name in OPEN:
        return "those of the graph"
    if record.variadic:
        return f"any number, {_code(list(seen.inputs)[:2])} and so on"
    return _listed(seen.inputs, seen.samples)


def _outputs(record: Record, seen: Observation) -> str:
    if record.op_name in OPEN:
        return "those of the graph"
    if "num_outputs" in record.fields():
        return f"{_code(list(seen.outputs)[:2])} and so on"
    return _listed(seen.outputs, seen.samples)


def _listed(counted: Mapping[str, int], samples: int) -> str:
    texts = [f"`{n}`" if count == samples else f"[`{n}`]" for n, count in counted.items()]
    return ", ".join(texts) or "none"


def _gradient(record: Record, seen: Observation) -> str:
    if record.op_name in OPEN:
        return "as its nodes have one"
    if not seen.reached:
        return "none"
    whom = "all" if record.variadic else _code([n for n in seen.inputs if n in seen.reached])
    return f"{whom} (a loss)" if record.is_loss else whom


def _attributes(record: Record) -> list[str]:
    """A line for each attribute: type and default."""
    lines = []
    needed = record.required()
    for name, annotation in record.fields().items():
        if record.variadic and name == "num_args":
            continue  # counted from the inputs
        default = "*required*" if name in needed else f"default `{getattr(record, name)!r}`"
        kind = re.sub(r"a tuple of an? (\w+)", r"a tuple of \1s", describe(annotation))
        lines.append(f"`{name}`: {kind}; {default}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or say how it differs."""
    parser = argparse.ArgumentParser(description="Write docs/operators.md from the records.")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    args = parser.parse_args(argv)
    text = page()
    if not args.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if current == text:
        return 0
    print(f"{PAGE} is not what the records say; run python tools/operator_docs.py")
    names = ("docs/operators.md", "the records")
    lines = difflib.unified_diff(current.splitlines(), text.splitlines(), *names, lineterm="", n=1)
    print("\n".join(list(lines)[:60]))
    return 1


if __name__ == "__main__":
    sys.exit(main())
