"""What the operator tests share: the recorded rows, and running compiled programs by themselves."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

import symbucket as sb
from symbucket.compiler import (
    CompilerOptions,
    Program,
    TrainingPrograms,
    compile_inference,
    compile_training,
)
from symbucket.context import cpu
from symbucket.runtime.session import session_options
from symbucket.symbol import Symbol
from symbucket.types import Array

DATA = Path(__file__).parent.parent / "data"


# Recorded from MXNet 1.9.1: cases of their own, and cases of ``more_cases``.
RECORDINGS = ("ops", "more_ops", "contrib_ops")


@functools.cache
def rows() -> dict[str, dict[str, Any]]:
    """The recorded operator cases by name."""
    files = [DATA / f"{name}.json" for name in RECORDINGS]
    return {row["case"]: row for file in files for row in json.loads(file.read_text())}


@functools.cache
def recorded() -> Mapping[str, Array]:
    """All recorded arrays."""
    arrays: dict[str, Array] = {}
    for name in RECORDINGS:
        with np.load(DATA / f"{name}.npz") as file:
            arrays.update(file)
    return arrays


def row_inputs(row: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs of a recorded case."""
    return {n: recorded()[f"{row['case']}/in/{n}"] for n in row["inputs"]}


def apply(op: str, attrs: Mapping[str, Any], names: list[str], name: str = "x") -> Symbol:
    """An operator applied to variables of these names."""
    inputs = [sb.sym.Variable(n) for n in names]
    return getattr(sb.sym, op)(*inputs, name=name, **attrs)


@functools.cache
def row_programs(case: str) -> dict[str, Program]:
    """Every model that is compiled for a recorded case, by what it is."""
    row = rows()[case]
    symbol = apply(row["op"], row["attrs"], row["inputs"])
    shapes = {n: a.shape for n, a in row_inputs(row).items()}
    dtypes = {n: a.dtype for n, a in row_inputs(row).items()}
    options = CompilerOptions(value_info=True)
    training = compile_training(symbol, shapes, dtypes, row["grads"], options=options)
    inference = compile_inference(symbol, shapes, dtypes, options=options)
    return {"inference": inference, **parts(training)}


def parts(training: TrainingPrograms) -> dict[str, Program]:
    """The models of a training step that exist."""
    found = {n: getattr(training, n) for n in ("step", "forward", "backward")}
    return {n: p for n, p in found.items() if p is not None}


class Runner:
    """A session on a program; ``run`` takes and gives arrays by name."""

    def __init__(self, model: bytes) -> None:
        options = session_options()
        options.log_severity_level = 4
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = {i.name for i in self._session.get_inputs()}
        self._outputs = [o.name for o in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        given = {n: a for n, a in feeds.items() if n in self._inputs}
        return dict(zip(self._outputs, self._session.run(None, given)))


class Step:
    """Outputs and gradients of a symbol in one float dtype, without the executor."""

    def __init__(
        self, symbol: Symbol, inputs: Mapping[str, Array], wanted: list[str], dtype: Any
    ) -> None:
        self.dtype = dtype
        self.feeds = {n: self._cast(a) for n, a in inputs.items()}
        shapes = {n: a.shape for n, a in self.feeds.items()}
        dtypes = {n: a.dtype for n, a in self.feeds.items()}
        # float64 shall not be computed in float32: differences need its digits.
        options = CompilerOptions(disable={"cast-to-kernels"})
        self.programs = compile_training(symbol, shapes, dtypes, wanted, options=options)
        self.names = symbol.list_outputs()
        self._runners = {n: Runner(p.model) for n, p in parts(self.programs).items()}

    def _cast(self, array: Array) -> Array:
        return array.astype(self.dtype) if array.dtype.kind == "f" else array

    def outputs(self, **changed: Array) -> list[Array]:
        """The symbol's outputs, with some inputs changed."""
        feeds = {**self.feeds, **{n: self._cast(a) for n, a in changed.items()}}
        found = self._runners.get("step") or self._runners["forward"]
        results = found.run(feeds)
        return [results[n] for n in self.names]

    def gradients(self, heads: list[Array]) -> dict[str, Array]:
        """Gradients by argument for head gradients."""
        if "step" in self._runners:
            results = self._runners["step"].run(self.feeds)
        else:
            results = self._runners["forward"].run(self.feeds)
            given = {f"{n}.head": h.astype(results[n].dtype) for n, h in zip(self.names, heads)}
            results = self._runners["backward"].run({**self.feeds, **results, **given})
        return {n[: -len(".grad")]: a for n, a in results.items() if n.endswith(".grad")}


def best_step(symbol: Symbol, inputs: Mapping[str, Array], wanted: list[str]) -> Step:
    """In float64 where the runtime has the kernels, else in float32."""
    try:
        return Step(symbol, inputs, wanted, np.float64)
    except NoKernel:
        return Step(symbol, inputs, wanted, np.float32)


def slopes(step: Step, wanted: list[str], heads: list[Array]) -> dict[str, Array]:
    """Central differences of ``sum(outputs * heads)`` by every element of every wanted input."""
    h = 1e-6 if step.dtype == np.float64 else 1e-2
    found = {}
    for name in wanted:
        start = step.feeds[name]
        slope = np.zeros(start.shape)
        for place in np.ndindex(start.shape):
            sides = []
            for sign in (1.0, -1.0):
                moved = start.copy()
                moved[place] += sign * h
                outputs = step.outputs(**{name: moved})
                sides.append(
                    (
                        float(moved[place]),
                        sum(
                            float((o.astype(np.float64) * k).sum()) for o, k in zip(outputs, heads)
                        ),
                    )
                )
            (right, above), (left, below) = sides
            slope[place] = (above - below) / (right - left)
        found[name] = slope
    return found


def executor(symbol: Symbol, inputs: Mapping[str, Array], req: str = "write") -> sb.Executor:
    """An executor whose arguments hold ``inputs``."""
    bound = symbol.simple_bind(cpu(), grad_req=req, **{n: a.shape for n, a in inputs.items()})
    bound.feed(inputs)
    return bound


def each_node(program: Program) -> Iterator[Any]:
    """The nodes of a compiled model."""
    yield from program.proto().graph.node
