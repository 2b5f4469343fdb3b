"""Give the networks of an export free axes; running them shows that they compute the same."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
import onnx

from symbucket.checks import listing
from symbucket.compiler import Port, Program
from symbucket.errors import ShapeError, UnsupportedError
from symbucket.export.axes import normal_numbers
from symbucket.export.free_axes import Sized, free_axes
from symbucket.export.sources import Source
from symbucket.export.spec import BATCH, KEY, Free, InputSpec, NetworkSpec, OutputSpec
from symbucket.runtime.session import run_model
from symbucket.types import Array

_TOLERANCE = 1e-4  # relative to the largest output: kernels add in another order for other sizes


def with_free_axes(
    sources: Sequence[Source],
    specs: Sequence[NetworkSpec],
    programs: Sequence[Program],
    free: Free,
    auxiliary: Collection[str],
) -> tuple[list[NetworkSpec], list[Program]]:
    """Return the same networks with free axes; with a free key all of them are one program.

    Raises UnsupportedError if an axis cannot be free, and says at which node it fails.
    """
    if KEY in free:
        program, padding_matters = _of_any_length(sources, specs, programs, auxiliary)
        new = [
            msgspec.structs.replace(spec, free=free, padding_matters=padding_matters)
            for spec in specs
        ]
        return new, [program] * len(programs)
    freed = [
        _of_any_batch(source, spec, program, auxiliary)
        for source, spec, program in zip(sources, specs, programs)
    ]
    return [msgspec.structs.replace(spec, free=free) for spec in specs], freed


def _of_any_batch(
    source: Source, spec: NetworkSpec, program: Program, auxiliary: Collection[str]
) -> Program:
    batch = _require_batch(source, spec)
    samples = [
        Sized(program.proto(), batch, 1),
        Sized(_sized(source, batch + 1).proto(), batch + 1, 1),
    ]
    try:
        model = free_axes(samples, _axis_of(spec, BATCH), None)
    except UnsupportedError as error:
        raise UnsupportedError(f"dynamic_batch, bucket key {source.key!r}: {error}") from None
    freed = dataclasses.replace(program, model=model.SerializeToString())
    _check_outputs(model, spec, (BATCH,))
    _check_same(freed, program, spec, auxiliary)
    return freed


def _of_any_length(
    sources: Sequence[Source],
    specs: Sequence[NetworkSpec],
    programs: Sequence[Program],
    auxiliary: Collection[str],
) -> tuple[Program, bool]:
    """Return the program for all keys, and whether padding changes its outputs."""
    lengths = [source.size for source in sources]
    if None in lengths or len(lengths) < 2:
        raise UnsupportedError(
            "dynamic_length needs two or more keys that are each one number, the length; the keys "
            f"are {', '.join(repr(s.key) for s in sources)}"
        )
    sized = {length: i for i, length in enumerate(lengths) if length is not None}
    largest = sized[max(sized)]
    count = len(programs[largest].proto().graph.node)
    samples = []
    for length, i in sized.items():
        batch, model = _require_batch(sources[i], specs[i]), programs[i].proto()
        # Short recurrences are unrolled: other nodes, whose numbers are compared all the same.
        if len(model.graph.node) != count:
            continue
        other = _sized(sources[i], batch + 1).proto()
        samples += [Sized(model, batch, length), Sized(other, batch + 1, length)]
    if len({s.length for s in samples}) < 2:
        two = {length: programs[sized[length]] for length in sorted(sized)[-2:]}
        has_labels = any(tensor.kind == "label" for tensor in specs[largest].inputs)
        raise UnsupportedError(_written_out(two, has_labels))
    spec = specs[largest]
    try:
        model = free_axes(samples, _axis_of(spec, BATCH), _axis_of(spec, KEY))
    except UnsupportedError as error:
        raise UnsupportedError(f"dynamic_length: {error}") from None
    freed = dataclasses.replace(programs[largest], model=model.SerializeToString())
    _check_outputs(model, spec, (BATCH, KEY))
    for i in sized.values():
        _check_same(freed, programs[i], specs[i], auxiliary)
    return freed, _padding_matters(freed, spec, sorted(sized), auxiliary)


def _written_out(programs: Mapping[int, Program], has_labels: bool) -> str:
    """Return what to say of networks of two lengths with different numbers of nodes."""
    (shorter, few), (longer, many) = (
        (length, Counter(node.name.split("/")[0] for node in program.proto().graph.node))
        for length, program in programs.items()
    )
    differing = [(many[n] - few[n], n) for n in many if many[n] != few[n]]
    places = [f"{n!r} ({many[n]} and {few[n]} nodes)" for _, n in sorted(differing, reverse=True)]
    text = (
        f"dynamic_length: the network of key {longer} has {many.total()} nodes, that of any other "
        f"key another number ({shorter} has {few.total()}), so its steps are written out. "
        f"Those two differ in {listing(places, 3)}. A recurrence is of any length if it is an "
        "LSTM, a GRU or a plain cell of float32 and if only its outputs and last states are used."
    )
    if has_labels:
        text += (
            " If that is a loss: answers need none, so export the network without it, from a "
            "module of its own that gets these parameters by set_params(*module.get_params())."
        )
    return text


def _require_batch(source: Source, spec: NetworkSpec) -> int:
    if source.batch is None or spec.batch is None:
        raise UnsupportedError(
            f"dynamic_batch: the data of bucket key {source.key!r} has no batch axis (an N in its "
            "layout)"
        )
    return source.batch


def _sized(source: Source, batch: int) -> Program:
    try:
        return source.sized(batch).compile("inference")
    except ShapeError as error:
        raise UnsupportedError(
            f"dynamic_batch: the batch size is written into the network of key {source.key!r}: "
            f"{error}"
        ) from None


def _axis_of(spec: NetworkSpec, what: str) -> tuple[str, int]:
    """Return the input and axis whose size is that of the batch or the key."""
    for tensor in spec.inputs:
        for axis, label in enumerate(tensor.axes):
            if label == what:
                return tensor.name, axis
    raise UnsupportedError(f"no input of key {spec.key!r} has an axis of the {what}")


def _check_outputs(model: onnx.ModelProto, spec: NetworkSpec, free: Free) -> None:
    """Raise UnsupportedError if a size of an output is free that belongs to no sample or key."""
    described = msgspec.structs.replace(spec, free=free)
    for value, tensor in zip(model.graph.output, spec.outputs):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") and not described.is_free(tensor, axis):
                raise UnsupportedError(
                    f"key {spec.key!r}: the size of axis {axis} of the output {tensor.name!r} "
                    f"{tensor.shape} follows from the batch or the key, but it is neither: no part "
                    "of it belongs to one sample, or to one step. Leave this output out, or export "
                    "without dynamic_batch and dynamic_length"
                )


# Checks by running -------------------------------------------------------------------------------


def _check_same(
    freed: Program, program: Program, spec: NetworkSpec, auxiliary: Collection[str]
) -> None:
    """Raise UnsupportedError unless both programs compute the same from random inputs."""
    values = drawn_inputs(program, spec, auxiliary)
    expected, actual = run_model(program.model, values), run_model(freed.model, values)
    for name, array in expected.items():
        if actual[name].shape != array.shape or not is_close(actual[name], array):
            raise UnsupportedError(
                f"key {spec.key!r}: with free axes the output {name!r} would be another one than "
                "with fixed axes; export it without dynamic_batch and dynamic_length"
            )


def _padding_matters(
    freed: Program, spec: NetworkSpec, keys: Sequence[int], auxiliary: Collection[str]
) -> bool:
    """Return whether what a request gets depends on how long the run is that it is padded for.

    Lengths other than keys are tried as well: a window of two steps drops the last of five, and
    one of three has none in a run of two.
    """
    longest = keys[-1]
    lengths = sorted({1, 2, 3, keys[0], keys[0] + 1, longest - 1})
    return any(
        _depends_on_padding(freed, spec, length, auxiliary)
        for length in lengths
        if 1 <= length < longest
    )


def _depends_on_padding(
    freed: Program, spec: NetworkSpec, length: int, auxiliary: Collection[str]
) -> bool:
    """Return whether outputs within ``length`` steps change with the padding behind them.

    A number of a sample may be its length. They do change for one that is longer than its data.
    """
    values = drawn_inputs(freed, spec, auxiliary)
    for tensor in spec.inputs:
        if tensor.axes == (BATCH,):
            longest = tensor.limits[1] - 1 if tensor.limits else max(spec.sizes or (1,))
            values[tensor.name][0] = longest
        for axis in range(len(tensor.axes)):
            if tensor.axes[axis] == KEY:
                rest = [slice(None)] * axis + [slice(length, None)]
                values[tensor.name][tuple(rest)] = tensor.padding
    cut = {t.name: _cut(values[t.name], t, length) for t in spec.inputs}
    whole = run_model(freed.model, values)
    try:
        short = run_model(freed.model, {**values, **cut}, log_failure=False)
    except Exception:  # the runtime's exceptions have no common base
        return True  # too few steps for a window, or for a position that SequenceLast reads
    for output in spec.outputs:
        expected = _first_steps(whole[output.name], output, spec, length)
        actual = short[output.name]
        # An output may have another number of steps than the input, such as half of them.
        if actual.size != expected.size or not is_close(actual.reshape(expected.shape), expected):
            return True
    return False


def _first_steps(array: Array, tensor: OutputSpec, spec: NetworkSpec, length: int) -> Array:
    """Return an output with an axis for each factor, cut to ``length`` steps if it has such."""
    sizes, place = factor_sizes(tensor, spec)
    array = array.reshape(sizes)
    return array if place is None else array.take(range(length), place)


def factor_sizes(tensor: OutputSpec, spec: NetworkSpec) -> tuple[list[int], int | None]:
    """Return the sizes of the factors of an output's axes, and the place of the steps in them."""
    sizes: list[int] = []
    place = None
    for axis, size in enumerate(tensor.shape):
        factors = tensor.factors(axis)
        if KEY in factors:
            place = len(sizes) + factors.index(KEY)
        sizes += [spec.factor_size(f) for f in factors] or [size]
    return sizes, place


def _cut(array: Array, tensor: InputSpec, length: int) -> Array:
    place = tuple(
        slice(0, length) if tensor.axes[axis] == KEY else slice(None)
        for axis in range(len(tensor.axes))
    )
    return array[place]


def is_close(actual: Array, expected: Array) -> bool:
    """Return whether two results of a network are the same but for the order of additions."""
    if expected.dtype.kind != "f":
        return bool(np.array_equal(actual, expected))
    scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=1e-6))
    return bool(np.allclose(actual, expected, rtol=0, atol=_TOLERANCE * scale, equal_nan=True))


def drawn_inputs(
    program: Program, spec: NetworkSpec, auxiliary: Collection[str]
) -> dict[str, Array]:
    """Return random inputs of the size that the program was compiled for, and parameters."""
    rng = np.random.default_rng(0)
    inputs: Mapping[str, InputSpec] = {t.name: t for t in spec.inputs}
    return {
        t.name: _draw(rng, t, inputs.get(t.name), t.name in auxiliary, spec) for t in program.inputs
    }


def _draw(
    rng: np.random.Generator,
    port: Port,
    tensor: InputSpec | None,
    auxiliary: bool,
    spec: NetworkSpec,
) -> Array:
    shape = port.shape if tensor is None else tensor.shape
    values: Array
    if tensor is None:
        if not auxiliary:
            return normal_numbers(rng, 0.3, shape, port.dtype)
        values = rng.uniform(0.5, 1.5, shape)
    elif tensor.limits is not None:
        values = rng.integers(tensor.limits[0] or 0, tensor.limits[1], shape)
    elif len(shape) == 1 and tensor.batch_axis == 0:  # a length, perhaps
        values = rng.integers(1, max(2, min(spec.sizes or (2,)) + 1), shape)
    elif tensor.dtype.kind in "iub":
        values = rng.integers(0, 2, shape)
    else:
        values = rng.normal(0.0, 1.0, shape)
    return np.asarray(values).astype(port.dtype)
