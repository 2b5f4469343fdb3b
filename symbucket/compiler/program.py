"""The compiler's result: a ready model, what its inputs and outputs mean, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from symbucket.compiler.memory import MemoryPlan
from symbucket.compiler.noise_inputs import NoiseInput
from symbucket.compiler.ports import Port, Role
from symbucket.compiler.shards.sharding import Sharding
from symbucket.one_of_each import OneOfEach

ValueType = tuple[str, int, tuple[int, ...]]
"""A value's name, its dtype as in ONNX, and its shape."""


_one_port: OneOfEach[Port] = OneOfEach()


@dataclass(frozen=True)
class Program:
    """A serialized ONNX model with its ports.

    Inputs are the symbol's variables (data, labels, parameters, auxiliary states), all of them
    plain graph inputs: a runtime folds and pre-packs constants, and would go on with old weights
    after an update in place. A port's ``role`` says what a tensor is for, ``of`` what it belongs
    to; the names of tensors are for people.

    Attributes:
        model: the bytes of a ``ModelProto``.
        inputs: one port for each graph input, in order.
        outputs: one port for each graph output, in order.
        noise: what to draw, before each run, for the inputs with the role NOISE.
        passes: how much each pass changed, by name.
        plan: what memory the model takes; None if it was not planned.
        loops: what runs as a loop over steps, by its first operator, with the number of steps.
        unrolled: for each weight that steps use one after the other without a loop the reason.
        values: the types of values between nodes, where the shape does not depend on the data;
            none in a model that is written for people (``CompilerOptions.value_info``).
        sharding: if the model is that of a part of the batch's rows, how the parts make the whole;
            ports have the shapes of the whole batch then, and the plan is of all shards.
        unsharded: why it is not, if that was asked.
    """

    model: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    noise: tuple[NoiseInput, ...] = ()
    passes: Mapping[str, int] = field(default_factory=dict)
    plan: MemoryPlan | None = None
    loops: tuple[str, ...] = ()
    unrolled: tuple[str, ...] = ()
    values: tuple[ValueType, ...] = ()
    sharding: Sharding | None = None
    unsharded: str = ""

    def __post_init__(self) -> None:
        """Use one object for equal ports: those of parameters are the same for all keys."""
        object.__setattr__(self, "inputs", tuple(map(_one_port, self.inputs)))
        object.__setattr__(self, "outputs", tuple(map(_one_port, self.outputs)))

    def proto(self) -> onnx.ModelProto:
        """Return the model as a protobuf message, to look at or to save."""
        proto = onnx.ModelProto()
        proto.ParseFromString(self.model)
        return proto

    def inputs_of(self, role: Role) -> list[Port]:
        """Return the inputs with this role, in order."""
        return [port for port in self.inputs if port.role is role]

    def outputs_of(self, role: Role) -> list[Port]:
        """Return the outputs with this role, in order."""
        return [port for port in self.outputs if port.role is role]


@dataclass(frozen=True)
class TrainingPrograms:
    """A training step, whole or split in two.

    Attributes:
        step: outputs, gradients and next auxiliary states in one run; None if the gradients depend
            on head gradients.
        forward: the outputs and the stash, the values that ``backward`` reads; None if there is a
            ``step``.
        backward: the gradients, from the stash and the head gradients; None if there is a ``step``.
        heads: the outputs whose head gradients ``backward`` takes.
    """

    step: Program | None
    forward: Program | None
    backward: Program | None
    heads: tuple[str, ...]

    @property
    def models(self) -> list[Program]:
        """The programs that exist, in the order in which they run."""
        return [p for p in (self.step, self.forward, self.backward) if p is not None]
