"""Draw networks: a symbol with arrays for its variables, all from one number.

Every network contains three operators from a shuffled deck of all that are registered, so that a
row of numbers covers every operator, and some more. Every fourth network is made of rows instead:
it computes each of ROWS samples by itself, for several contexts and for serving.

An operator comes from the table of cases (tests/ops/op_cases.py) or from a function that draws its
attributes (draw_operators.py). Its inputs are new variables, or values that are in the network
already, reshaped to fit.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import symbucket as sb
from symbucket import ops, sym
from symbucket.errors import ShapeError
from symbucket.symbol import Symbol
from symbucket.symbol.infer import infer_types
from symbucket.symbol.node import Node
from symbucket.types import Array, Shape
from tests.ops.op_cases import BINARY, CASES, UNARY, Case, Maker

PER_NETWORK = 3  # operators of the deck in one network
ROWS = 6  # samples of a network of rows; no other axis has this size
# The way "imported" runs every network through the first; the next are made from functions. The
# gradient of the last one is that of a penalty on its moving average.
NOT_DRAWN = {
    "_onnx_graph",
    "Custom",
    "_cond",
    "_foreach",
    "_while_loop",
    "IdentityAttachKLSparseReg",
}
# Next to 0, where they have a pole, they make a whole result of what a kernel rounds: the runtime's
# sigmoid is off by up to 5e-8, which is one percent of sigmoid(-13).
POLES = {"_rdiv_scalar", "rcbrt", "reciprocal"}
_NORMALIZATIONS = {"BatchNorm", "_contrib_SyncBatchNorm"}


@dataclass
class Network:
    """A symbol and an array for each of its variables."""

    seed: int
    symbol: Symbol
    inputs: dict[str, Array]
    wanted: list[str]
    """The arguments to differentiate by."""
    again: Callable[[int], dict[str, Array]] | None = None
    """Other numbers for the variables, of the same kind."""
    everywhere: bool = False
    """Whether passes also rewrite what is not faster then (``compare`` sees to that)."""

    @property
    def args(self) -> dict[str, Array]:
        return {n: self.inputs[n] for n in self.symbol.list_arguments()}

    @property
    def aux(self) -> dict[str, Array]:
        return {n: self.inputs[n] for n in self.symbol.list_auxiliary_states()}

    @property
    def shapes(self) -> dict[str, Shape]:
        return {n: a.shape for n, a in {**self.args, **self.aux}.items()}

    @property
    def dtypes(self) -> dict[str, Any]:
        return {n: a.dtype for n, a in {**self.args, **self.aux}.items()}

    @property
    def operators(self) -> list[Any]:
        return [node.op for node in self.symbol.nodes() if node.op is not None]

    @property
    def draws(self) -> bool:
        """Whether a run draws random numbers."""
        return any(op.random and op.draws(training=True) > 0 for op in self.operators)

    @property
    def has_modes(self) -> bool:
        """Whether training computes other outputs than inference."""
        return self.draws or any(op.op_name in _NORMALIZATIONS for op in self.operators)

    def heads(self) -> list[Array]:
        """Head gradients, one for each output."""
        rng = np.random.default_rng([self.seed, 9])
        outputs = self.symbol.complete_shapes(**{n: self.inputs[n].shape for n in self.args})[1]
        return [rng.uniform(-1.0, 1.0, shape) for shape in outputs]

    def of(self, symbol: Symbol) -> Network:
        """The same arrays for another symbol over the same variables."""
        arguments = symbol.list_arguments()
        wanted = [n for n in self.wanted if n in arguments]
        return dataclasses.replace(self, symbol=symbol, wanted=wanted)

    def with_inputs(self, inputs: Mapping[str, Array]) -> Network:
        return dataclasses.replace(self, inputs={**self.inputs, **inputs})

    def with_shapes(self, names: Collection[str]) -> Network:
        """The same network with the shapes of these variables written into the symbol."""
        twins: dict[int, Node] = {}
        for node in self.symbol.nodes():
            attrs = dict(node.attrs)
            if node.op is None and node.name in names:
                attrs["__shape__"] = str(self.inputs[node.name].shape)
            inputs = tuple((twins[id(n)], i) for n, i in node.inputs)
            twins[id(node)] = Node(node.op, node.name, inputs, attrs, node.value)
        return self.of(Symbol([(twins[id(n)], i) for n, i in self.symbol.heads]))

    def describe(self) -> str:
        """One line for each node, as text."""
        lines = []
        for node in self.symbol.nodes():
            if node.op is None:
                array = self.inputs[node.name]
                kind = "" if node.name in self.wanted else " (no gradient)"
                lines.append(f"{node.name}: {array.dtype}{list(array.shape)}{kind}")
                continue
            sources = [f"{n.name}[{i}]" if i else n.name for n, i in node.inputs]
            attributes = [f"{k}={v!r}" for k, v in node.op.attributes().items()]
            inside = ", ".join([*sources, *attributes])
            lines.append(f"{node.name} = {node.op.op_name}({inside})")
        heads = [f"{n.name}[{i}]" if i else n.name for n, i in self.symbol.heads]
        return "\n".join([*lines, f"outputs: {', '.join(heads)}"])


@dataclass
class Drawing:
    """A network that grows: the values so far, and how the arrays of its variables are made."""

    rng: np.random.Generator
    dtype: Any
    of_rows: bool = False
    """Whether all values begin with an axis of ROWS samples."""
    makers: dict[str, Maker] = field(default_factory=dict)
    wanted: list[str] = field(default_factory=list)
    values: list[Symbol] = field(default_factory=list)
    """Values of the network's own dtype that operators may read."""
    used: set[int] = field(default_factory=set)
    """Numbers of the values that were read."""

    # Choices ---------------------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def integer(self, low: int, high: int) -> int:
        """From ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, options: Any) -> Any:
        options = list(options)
        return options[int(self.rng.integers(len(options)))]

    def shape(self, low: int = 1, high: int = 4) -> Shape:
        """A small shape of ``low`` to ``high`` axes."""
        rank = self.integer(low, high)
        sizes = tuple(self.choice((1, 2, 2, 3, 4)) for _ in range(rank))
        return (ROWS, *sizes[1:]) if self.of_rows else sizes

    def batch(self, high: int = 2) -> int:
        """A number of samples."""
        return ROWS if self.of_rows else self.integer(1, high)

    def axis(self, shape: Shape) -> int:
        """An axis; rarely that of the samples in a network of rows."""
        low = 1 if self.of_rows and len(shape) > 1 and self.chance(0.95) else 0
        axis = self.integer(low, len(shape) - 1)
        return axis - len(shape) if self.chance(0.4) else axis

    # Values ----------------------------------------------------------------------------------

    def variable(self, make: Maker, differentiable: bool = True) -> Symbol:
        name = f"v{len(self.makers)}"
        self.makers[name] = make
        if differentiable and getattr(make, "differentiable", True):
            self.wanted.append(name)
        return sym.Variable(name)

    def shape_of(self, value: Symbol) -> Shape:
        shapes = {n: a.shape for n, a in self.arrays(0).items()}
        known = {n: shapes[n] for n in value.list_arguments()}
        return tuple(value.complete_shapes(**known)[1][0])

    def arrays(self, seed: int) -> dict[str, Array]:
        """Arrays for all variables."""
        made = {}
        for i, (name, make) in enumerate(self.makers.items()):
            array = np.asarray(make(np.random.default_rng([seed, i])))
            made[name] = array.astype(self.dtype) if array.dtype == np.float64 else array
        return made

    def value(self, shape: Shape | None = None, fresh: float = 0.4) -> Symbol:
        """A value of this shape (any, if None): a new variable, or one that is there."""
        if not self.values or self.chance(fresh):
            shape = self.shape() if shape is None else shape
            return self.variable(self.free(shape))
        number = self.integer(0, len(self.values) - 1)
        self.used.add(number)
        value = self.values[number]
        return value if shape is None else self.fitted(value, shape)

    def free(self, shape: Shape) -> Maker:
        """Makes numbers of either sign, in different sizes."""
        scale = self.choice((0.5, 1.0, 2.0))
        return lambda rng: rng.normal(0.0, scale, shape)

    def fitted(self, value: Symbol, shape: Shape) -> Symbol:
        """The value with this shape: reshaped, and cut or repeated if the sizes differ."""
        have = self.shape_of(value)
        if have == shape:
            return value
        if self.of_rows:
            if have[0] == shape[0] == ROWS and math.prod(have) == math.prod(shape):
                return sym.Reshape(value, shape=(0, *shape[1:]))
            return self.variable(self.free(shape))
        size, goal = math.prod(have), math.prod(shape)
        if size != goal:
            value = sym.Reshape(value, shape=(-1,))
            if size < goal:
                value = sym.tile(value, reps=(-(-goal // size),))
            value = sym.slice_axis(value, axis=0, begin=0, end=goal)
        return sym.Reshape(value, shape=shape) if shape else sym.Reshape(value, shape=(1,))

    def within(self, value: Symbol, make: Maker) -> Symbol:
        """The value, moved to where the numbers of ``make`` lie."""
        sample = np.concatenate([np.ravel(make(np.random.default_rng(s))) for s in range(8)])
        low, high = float(sample.min()), float(sample.max())
        if low > 1.0:
            return sym.square(sym.tanh(value)) + 1.2
        if low > 0.0:
            return sym.square(sym.tanh(value)) * 1.5 + 0.2
        if high <= 0.8 and low >= -0.8:
            return sym.tanh(value) * 0.75
        return value

    def add(self, result: Symbol) -> None:
        """Take the outputs of an operator as values, in the network's own dtype."""
        for output in result:
            arguments = {n: a.dtype for n, a in self.arrays(0).items()}
            nodes = output.nodes()
            names = {n.name for n in nodes if n.op is None}
            types = infer_types(nodes, {n: t for n, t in arguments.items() if n in names})
            if types[output.heads[0]] != np.dtype(self.dtype):
                output = sym.Cast(output, dtype=np.dtype(self.dtype).name)
            self.values.append(output)

    def case(self, case: Case) -> None:
        """Add an operator with the attributes and shapes of a case."""
        record = ops.find(case.op)
        inputs = []
        for name, make in {**case.inputs, **case.aux}.items():
            shape = make(np.random.default_rng(0)).shape
            reuse = name not in case.aux and name in case.wanted and self.chance(0.5)
            if reuse and self.values:
                value = self.within(self.value(shape, fresh=0.0), make)
                if record.op_name in POLES:
                    value = sym.square(sym.tanh(value)) * 1.5 + 0.2
                inputs.append(value)
            else:
                inputs.append(self.variable(make, differentiable=name in case.wanted))
        self.add(getattr(sym, record.op_name)(*inputs, **case.attrs))


def draw_network(seed: int) -> Network:
    """Return network number ``seed``."""
    from tests.fuzz.draw_operators import DRAWN, LOSSES
    from tests.fuzz.draw_recurrent import draw_recurrent

    rng = np.random.default_rng(seed)
    dtype = np.float64 if rng.random() < 0.15 else np.float32
    of_rows = seed % 4 == 3
    with sb.NameManager():
        drawing = Drawing(rng, dtype, of_rows)
        if dtype == np.float32 and rng.random() < 0.35:  # states begin in float32
            draw_recurrent(drawing)
        names = [str(n) for n in rng.choice(_names(), int(rng.integers(0, 4)))]
        if of_rows:
            row_names = sorted(n for n in _names() if n in DRAWN or n in _unary_cases())
            names = [str(n) for n in rng.choice(row_names, int(rng.integers(2, 7)))]
        else:
            names = [*deck_of(seed), *names]
        for name in names:
            _add(drawing, name, DRAWN)
        unread = [v for i, v in enumerate(drawing.values) if i not in drawing.used]
        if of_rows:
            unread = [v for v in unread if _made_of_rows(drawing, v)] or [drawing.value((ROWS, 2))]
        heads = unread[-8:]
        if drawing.chance(0.3):
            heads = [*heads[:-1], drawing.choice(LOSSES)(drawing, heads[-1])]
        symbol = sb.sym.Group(heads) if len(heads) > 1 else heads[0]
    names = symbol.list_inputs()
    inputs = {n: a for n, a in drawing.arrays(seed).items() if n in names}
    return Network(seed, symbol, inputs, [n for n in drawing.wanted if n in inputs])


def _add(drawing: Drawing, name: str, drawn: Mapping[str, Callable[[Drawing], Symbol]]) -> None:
    cases = _cases().get(name, ())
    if drawing.of_rows and name not in drawn:
        case = _unary_cases()[name]
        value = drawing.within(drawing.value(), case.inputs["data"])
        drawing.add(getattr(sym, name)(value, **case.attrs))
    elif name in drawn and (not cases or drawing.chance(0.6)):
        drawing.add(drawn[name](drawing))
    else:
        drawing.case(drawing.choice(cases))


def deck_of(seed: int) -> list[str]:
    """Return the operators that network number ``seed`` must contain."""
    names = _names()
    number = seed - (seed + 1) // 4  # networks of rows take none
    rounds = -(-len(names) // PER_NETWORK)
    deck = np.random.default_rng([number // rounds, 7]).permutation(names)
    start = number % rounds * PER_NETWORK
    return [str(n) for n in deck[start : start + PER_NETWORK]]


@functools.cache
def _names() -> list[str]:
    return sorted({ops.find(n).op_name for n in ops.names()} - NOT_DRAWN)


@functools.cache
def _cases() -> dict[str, list[Case]]:
    by_name: dict[str, list[Case]] = {}
    for case in CASES:
        by_name.setdefault(ops.find(case.op).op_name, []).append(case)
    return by_name


@functools.cache
def _unary_cases() -> dict[str, Case]:
    """Cases of one input that work for every shape."""
    return {
        ops.find(c.op).op_name: c
        for c in [*UNARY, *BINARY]
        if list(c.inputs) == ["data"] and c.inputs["data"](np.random.default_rng(0)).shape == (2, 3)
    }


def _made_of_rows(drawing: Drawing, value: Symbol) -> bool:
    """Whether the value has as many rows as the data, also if these are halved."""
    arrays = {n: a.shape for n, a in drawing.arrays(0).items() if n in value.list_arguments()}
    for rows in (ROWS, ROWS // 2):
        shapes = {n: (rows, *s[1:]) if s[:1] == (ROWS,) else s for n, s in arrays.items()}
        try:
            outputs = value.complete_shapes(**shapes)[1]
        except ShapeError:
            return False
        if outputs[0][:1] != (rows,):
            return False
    return True
