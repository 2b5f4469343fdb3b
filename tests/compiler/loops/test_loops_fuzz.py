"""Random recurrent cells: rolled up or not, the numbers are the same, and most are rolled up."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.compiler import compile, compile_inference
from symbucket.compiler.pipeline import run_pipeline
from tests.compiler.loops.rolled import draw_arrays, infer_both, scans_in, train_both
from tests.compiler.verify_graph import check_model, verify

ROWS, WIDTH = 2, 3


class Cell:
    """A random expression, drawn once and applied in every step."""

    def __init__(self, rng):
        self._states = int(rng.integers(1, 4))
        self._skips = rng.random() < 0.2
        self._plan = []
        sources = self._states + 1 + self._skips
        for i in range(int(rng.integers(2, 9))):
            kind = rng.choice(
                ["layer", "unary", "binary", "joined", "halves", "scaled", "softmax", "viewed"],
                p=[0.3, 0.2, 0.25, 0.07, 0.06, 0.05, 0.03, 0.04],
            )
            late = [sources + i - 1 - min(int(rng.geometric(0.4)) - 1, sources + i - 1)]
            picks = [*late, *rng.integers(0, sources + i, 2)]
            self._plan.append((kind, picks, int(rng.integers(4)), int(rng.integers(4))))
        made = sources + len(self._plan)
        self._next = [made - 1, *(int(i) for i in rng.integers(0, made, self._states - 1))]
        # A product with a state, or one of the value, or none.
        self._recurrent = [1, *rng.integers(4, size=self._states - 1)]
        self._read = int(rng.integers(made))
        self._twice = int(rng.integers(4)) if rng.random() < 0.15 else None

    @property
    def states(self):
        return self._states

    def step(self, x, states, older, weights):
        """The next states, and another value of the step."""
        unused = iter(weights["own"])  # a weight in two products of a step is rare, and not rolled

        def weight_of(number):
            return weights["shared"] if number == self._twice else next(unused)

        values = [x, *states, *([older] if self._skips else [])]
        for kind, (a, b, _), choice, weight in self._plan:
            p, q = values[a], values[b]
            if kind == "layer":
                w = weight_of(weight)
                bias = [weights["bias"]] if choice == 0 else []
                made = sym.FullyConnected(p, w, *bias, num_hidden=WIDTH, no_bias=not bias)
            elif kind == "unary":
                functions = (sym.tanh, sym.sigmoid, sym.relu, lambda v: sym.tanh(v * v))
                made = functions[choice](p)
            elif kind == "binary":
                functions = (
                    lambda u, v: u + v,
                    lambda u, v: u - v,
                    lambda u, v: u * v,
                    lambda u, v: sym.broadcast_mul(u, sym.mean(v, axis=1, keepdims=True)),
                )
                made = functions[choice](p, q)
            elif kind == "joined":
                both = sym.Concat(p, q, dim=1)
                made = sym.FullyConnected(both, weights["wide"], num_hidden=WIDTH, no_bias=True)
            elif kind == "halves":
                first = sym.slice_axis(p, axis=1, begin=0, end=1)
                rest = sym.slice_axis(q, axis=1, begin=1, end=WIDTH)
                made = sym.Concat(first, rest, dim=1)
            elif kind == "scaled":
                made = sym.clip(p * (0.5 + choice), a_min=-2.0, a_max=2.0)
            elif kind == "softmax":
                made = sym.softmax(p)
            else:
                turned = sym.Reshape(p, shape=(WIDTH, ROWS))
                made = sym.Reshape(sym.tanh(turned), shape=(ROWS, WIDTH))
            values.append(made)
        following = []
        for state, i, kind in zip(states, self._next, self._recurrent):
            value = values[i]
            if kind:
                value = sym.FullyConnected(
                    state if kind < 3 else value, weight_of(kind), num_hidden=WIDTH, no_bias=True
                )
            if kind in (1, 2):
                value = value + values[i]
            following.append(sym.tanh(value))
        return following, values[self._read]


def random_network(rng):
    """A cell over a sequence: random begin, random reading; gives also the number of steps."""
    steps = int(rng.integers(4, 10))
    cell = Cell(rng)
    weights = {name: sym.Variable(name) for name in ("shared", "wide", "out")}
    weights["bias"] = sym.Variable("bias", shape=(WIDTH,))
    weights["own"] = [sym.Variable(f"w{i}") for i in range(12)]
    begin = sym.Variable("begin", shape=(ROWS, WIDTH))
    axis = int(rng.integers(2))  # TNC or NTC
    data = sym.Variable("data")
    given = rng.integers(4)
    if given == 0:  # every step has an input of its own
        pieces = [sym.Variable(f"x{t}", shape=(ROWS, WIDTH)) for t in range(steps)]
    else:
        pieces = sym.SliceChannel(data, num_outputs=steps, axis=axis, squeeze_axis=True)
        pieces = list(pieces) if given < 3 else [pieces[steps - 1 - t] for t in range(steps)]
    states = []
    for i in range(cell.states):
        kind = rng.integers(4)
        first = (
            sym.zeros(shape=(ROWS, WIDTH)),
            sym.Variable(f"s{i}", shape=(ROWS, WIDTH)),
            sym.tanh(begin),
            sym.zeros(shape=(ROWS, WIDTH)),
        )[kind]
        states.append(first)
    older = sym.zeros(shape=(ROWS, WIDTH))
    history, others = [], []
    for t in range(steps):
        before = states[0]
        states, other = cell.step(pieces[t], states, older, weights)
        older = before
        history.append(states)
        others.append(other)

    read = []
    for i in range(cell.states):
        column = [one[i] for one in history]
        kind = rng.choice(["last", "all", "second", "sum", "each", "none", "rows"])
        if kind == "last" or (kind == "none" and i == 0):
            read.append(column[-1])
        elif kind == "all":
            read.append(sym.Concat(*[sym.expand_dims(v, axis=axis) for v in column], dim=axis))
        elif kind == "second":
            read += column[::2]
        elif kind == "sum":
            read.append(sym.ElementWiseSum(*column))
        elif kind == "each":
            read += [sym.sin(v) for v in column]
        elif kind == "rows":
            rows = sym.Concat(*column, dim=0)
            read.append(sym.FullyConnected(rows, weights["out"], num_hidden=4, no_bias=True))
    if rng.random() < 0.3:
        read += others
    if rng.random() < 0.15:  # head gradients are given: forward and backward are two programs
        net = sym.Group(read)
    else:
        heads = [sym.MakeLoss(sym.sum(v * float(rng.normal()))) for v in read]
        shown = [sym.BlockGrad(history[i][0]) for i in rng.integers(0, steps, int(rng.integers(3)))]
        net = sym.Group(heads + shown)
    shape = (steps, ROWS, WIDTH) if axis == 0 else (ROWS, steps, WIDTH)
    return net, {"data": shape} if given else {}, steps


def check_network(seed):
    """Rolled and unrolled numbers agree; every model keeps what is promised of models."""
    rng = np.random.default_rng(seed)
    net, shapes, _ = random_network(rng)
    names = net.list_arguments()
    shapes = {n: s for n, s in shapes.items() if n in names}
    wanted = [n for n in names if rng.random() < 0.8] or names[:1]
    arrays = draw_arrays(net, shapes, seed)
    made, _ = train_both(net, shapes, wanted, arrays)
    inferred = infer_both(net, shapes, arrays)
    for one in (*made.models, inferred):
        check_model(one)


@pytest.fixture
def _verified(monkeypatch):
    """The graph is looked at after every run of the pass."""

    def after_each(name, graph):
        if name == "roll-loops":
            verify(graph)

    monkeypatch.setattr(
        compile, "run_pipeline", lambda request, _: run_pipeline(request, after_each)
    )


@pytest.mark.usefixtures("_verified")
@pytest.mark.parametrize("seed", range(60))
def test_random_cells(seed):
    check_network(seed)


@pytest.mark.fuzz
@pytest.mark.slow
@pytest.mark.usefixtures("_verified")
def test_many_random_cells(seed):
    for number in range(seed + 60, seed + 75):
        print("seed", number)
        check_network(number)


def test_most_cells_are_rolled_up():
    rolled = 0
    for seed in range(60):
        with sb.NameManager():
            net, shapes, _ = random_network(np.random.default_rng(seed))
        shapes = {n: s for n, s in shapes.items() if n in net.list_arguments()}
        rolled += bool(scans_in(compile_inference(net, shapes)))
    assert rolled >= 45, f"{rolled} of 60"
