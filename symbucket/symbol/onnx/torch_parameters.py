"""Parameters that PyTorch's exporter (``dynamo=True``) merged, copied or transposed, as they were.

Its optimizer, which is on by default, makes one initializer of equal parameters (all scales of new
LayerNorms), and a transposed copy of a weight, also if a table shares it. What it notes on nodes
names the parameters that each call read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import numpy as np
import onnx

from symbucket.ops.foreign.attributes import int_of
from symbucket.symbol.onnx.constants import FLOATS
from symbucket.symbol.onnx.names import is_generated
from symbucket.symbol.onnx.torch_notes import TorchCall, path_of, placeholder_of
from symbucket.symbol.onnx.walk import all_nodes
from symbucket.types import Array

_PRODUCTS = ("aten.linear.default",)
_BIASED = ("Conv", "Gemm")
_WITH_BIAS = ("aten.linear", "aten.addmm", "aten.conv")
COMPUTED = (
    "PyTorch's exporter computed it, perhaps from parameters (of a folded BatchNorm or a weight "
    "normalization, rows of a table)"
)
NOT_TIED = "a copy of a parameter that PyTorch shares, with other values"


@dataclass
class _Reading:
    """Inputs of nodes that read an initializer as one tensor of PyTorch.

    ``tensor`` is the name in calls (``p_out_weight``), a longer key if several were joined, or
    empty for none.
    """

    tensor: str
    call: TorchCall
    inputs: list[tuple[onnx.NodeProto, int]] = field(default_factory=list)


@dataclass
class Doubts:
    """What the notes of a file do not settle.

    ``computed`` are constants that may be computed from parameters, with words for each; ``lost``
    are parameters that calls of PyTorch read and the file does not have.
    """

    computed: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def part_parameters(calls: list[TorchCall], graph: onnx.GraphProto) -> Doubts:
    """Make the parameters of a graph those of PyTorch, as far as notes and values tell."""
    parts = _Parts(calls, graph)
    parts.read()
    parts.split()
    parts.tie()
    parts.drop_copies()
    parts.restore_biases()
    return parts.doubts


class _Parts:
    def __init__(self, calls: list[TorchCall], graph: onnx.GraphProto) -> None:
        self._calls = calls
        self._graph = graph
        self._tensors = {t.name: t for t in graph.initializer if t.data_type in FLOATS}
        self._names = {t.name for t in graph.initializer} | {v.name for v in graph.input}
        self._names |= {name for node in all_nodes(graph) for name in node.output}
        self._readings: dict[str, list[_Reading]] = {}
        self.doubts = Doubts()
        self._read: set[str] = set()

    def read(self) -> None:
        """Find for each initializer the tensors of PyTorch that calls read it as."""
        for call in self._calls:
            inputs: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
            for node in call.nodes:
                for i, name in enumerate(node.input):
                    if name in self._tensors and not self._is_number(name):
                        inputs.setdefault(name, []).append((node, i))
            for name, tensor in _matched(list(inputs), call).items():
                listed = self._readings.setdefault(name, [])
                same = [r for r in listed if r.tensor == tensor]
                if not same:
                    same = [_Reading(tensor, call)]
                    listed += same
                same[0].inputs += inputs[name]
                self._read.update(tensor.split("+"))

    def _is_number(self, name: str) -> bool:
        return is_generated(name) and int(np.prod(self._tensors[name].dims)) == 1

    def split(self) -> None:
        """Give each tensor of PyTorch an initializer of its own."""
        for name, readings in self._readings.items():
            own = [r for r in readings if r.tensor[2:] == placeholder_of(name)]
            nameless = [r for r in readings if not r.tensor]
            others = [r for r in readings if r.tensor and r not in own]
            if not own and not is_generated(name):
                self.doubts.computed[name] = (
                    COMPUTED  # nothing reads the parameter of this name as such
                )
                continue
            if nameless and (own or others) and self._is_uniform(name):
                for reading in nameless:  # equal to a number that forward creates
                    self._rename(reading, self._copy(name, self._free("lifted_tensor_0")))
            elif nameless:
                self.doubts.computed[name] = COMPUTED
            for reading in others[not own :]:
                self._rename(reading, self._copy(name, self._free(_path(reading))))

    def tie(self) -> None:
        """Make one initializer of copies of a tensor, and give weights of products their names."""
        by_tensor: dict[str, list[tuple[str, _Reading]]] = {}
        for readings in self._readings.values():
            for reading in readings:
                if reading.tensor and "+" not in reading.tensor:
                    node, i = reading.inputs[0]
                    by_tensor.setdefault(reading.tensor, []).append((node.input[i], reading))
        for tensor, copies in by_tensor.items():
            first = next((n for n, _ in copies if placeholder_of(n) == tensor[2:]), None)
            for name, reading in copies:
                if name == first:
                    continue
                if first is None and self._is_transposed(name, reading):
                    first = self._free(_path(reading))
                    value = np.ascontiguousarray(self._value(name).T)
                    self._add(onnx.numpy_helper.from_array(value, first))
                if first is None:
                    first = name
                elif not self._replace(name, reading, first):
                    self.doubts.computed[name] = self.doubts.computed[first] = NOT_TIED

    def _is_transposed(self, name: str, reading: _Reading) -> bool:
        return (
            is_generated(name)
            and len(self._tensors[name].dims) == 2
            and reading.call.target in _PRODUCTS
            and all(node.op_type == "MatMul" and i == 1 for node, i in reading.inputs)
        )

    def _replace(self, name: str, reading: _Reading, first: str) -> bool:
        """Read ``first`` in place of an initializer that has its values, or them transposed."""
        value, original = self._value(name), self._value(first)
        if np.array_equal(value, original):
            self._rename(reading, first)
            return True
        if value.ndim != 2 or not np.array_equal(value, original.T):
            return False
        turned = self._free(f"{first}/transposed")
        node = onnx.helper.make_node("Transpose", [first], [turned], turned, perm=[1, 0])
        self._graph.node.insert(0, node)
        self._rename(reading, turned)
        return True

    def drop_copies(self) -> None:
        """Remove initializers that nothing reads any more."""
        used = {name for node in all_nodes(self._graph) for name in node.input}
        used |= {value.name for value in self._graph.output}
        gone = {name for name in self._readings if name not in used}
        rest = [tensor for tensor in self._graph.initializer if tensor.name not in gone]
        del self._graph.initializer[:]
        self._graph.initializer.extend(rest)

    def restore_biases(self) -> None:
        """Add biases that the exporter left out since they are zero; note other lost parameters."""
        for call in self._calls:
            lost = [t for t in call.tensors if t.startswith("p_") and t not in self._read]
            self._read.update(lost)
            readers = [n for n in call.nodes if n.op_type in _BIASED and len(n.input) == 2]
            for tensor in lost:
                name = path_of(tensor, call)
                weight = self._tensors.get(readers[0].input[1]) if len(readers) == 1 else None
                if weight is None or lost != [tensor] or not tensor.endswith("bias"):
                    self.doubts.lost.append(name)
                    continue
                name = self._free(name)
                zeros = np.zeros(_outputs(readers[0], weight), self._value(weight.name).dtype)
                self._add(onnx.numpy_helper.from_array(zeros, name))
                readers[0].input.append(name)

    # Initializers -------------------------------------------------------------------------------

    def _value(self, name: str) -> Array:
        value: Array = onnx.numpy_helper.to_array(self._tensors[name])
        return value

    def _is_uniform(self, name: str) -> bool:
        value = self._value(name)
        return value.size > 0 and bool(np.all(value == value.flat[0]))

    def _free(self, name: str) -> str:
        """Return the name, or one like it that nothing has."""
        names = (f"{name}_{i}" for i in count(1))
        return name if name not in self._names else next(n for n in names if n not in self._names)

    def _copy(self, name: str, new: str) -> str:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(self._tensors[name])
        tensor.name = new
        self._add(tensor)
        return new

    def _add(self, tensor: onnx.TensorProto) -> None:
        self._names.add(tensor.name)
        self._graph.initializer.append(tensor)
        self._tensors[tensor.name] = self._graph.initializer[-1]

    def _rename(self, reading: _Reading, name: str) -> None:
        self._names.add(name)
        for node, i in reading.inputs:
            node.input[i] = name


def _outputs(node: onnx.NodeProto, weight: onnx.TensorProto) -> int:
    """Return how many outputs a Gemm or Conv has."""
    turned = node.op_type == "Conv" or int_of(node, "transB", 0)
    return int(weight.dims[0 if turned else 1])


def _path(reading: _Reading) -> str:
    return path_of(reading.tensor.split("+")[0], reading.call)


def _matched(names: list[str], call: TorchCall) -> dict[str, str]:
    """Return for each initializer that a call reads the name of its tensor in the call.

    Names decide, then the order. If fewer are left than tensors, either the last one is a bias that
    was left out, or the rest was joined from all of them (weights of recurrent layers).
    """
    by_placeholder = {tensor[2:]: tensor for tensor in call.tensors}
    matched = {name: by_placeholder.get(placeholder_of(name), "") for name in names}
    rest = [name for name in names if not matched[name]]
    left = [tensor for tensor in call.tensors if tensor not in matched.values()]
    if call.target.startswith(("aten.addmm", "aten.baddbmm")):
        left.sort(key=lambda tensor: tensor == call.tensors[0])  # the bias is ONNX's last input
    if len(rest) == len(left) or (rest and call.target.startswith(_WITH_BIAS)):
        matched.update(zip(rest, left))
    elif left:
        matched.update((name, f"{'+'.join(left)}+{i}") for i, name in enumerate(rest))
    return matched
