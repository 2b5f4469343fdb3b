"""``Runner``: a program in a session, with arrays at its ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from symbucket.compiler import Port, Program, Role
from symbucket.compiler.memory.pool_plan import NODE_BYTES, SESSION_BYTES
from symbucket.context import Context
from symbucket.engine.sharded_session import ShardedSession, partial_ports
from symbucket.engine.shared_models import SHARED_MODELS
from symbucket.runtime.hidden_nan import inputs_hiding_nan
from symbucket.runtime.ndarray import NDArray
from symbucket.runtime.noise import NoiseKey, draw
from symbucket.runtime.providers import provider_of

BINDING_BYTES = 40_000
"""What a session takes beside its model: the bindings of its inputs and outputs."""


@dataclass(frozen=True)
class PortArrays:
    """Arrays for the ports of a program, by what a port belongs to.

    Attributes:
        arguments: data, labels, parameters.
        states: auxiliary states.
        in_place: the next states are written where the states are, not into ``buffers``.
        gradients: gradients that are written where they are wanted.
        buffers: arrays for everything else, by the name of the port.
    """

    arguments: Mapping[str, NDArray] = field(default_factory=dict)
    states: Mapping[str, NDArray] = field(default_factory=dict)
    gradients: Mapping[str, NDArray] = field(default_factory=dict)
    buffers: Mapping[str, NDArray] = field(default_factory=dict)
    in_place: bool = True

    def find(self, port: Port) -> NDArray | None:
        """Return the array for a port, or None if there is none here."""
        if port.role is Role.ARGUMENT:
            return self.arguments.get(port.of)
        if port.role is Role.STATE or (port.role is Role.NEXT_STATE and self.in_place):
            return self.states.get(port.of)
        if port.role is Role.GRAD and port.of in self.gradients:
            return self.gradients[port.of]
        return self.buffers.get(port.name)


class Runner:
    """One program, ready to run over the arrays that are bound to its ports.

    Args:
        program: what to run; its model is not kept.
        context: where.
        name: how messages call it.
    """

    def __init__(self, program: Program, context: Context, name: str) -> None:
        self.inputs = program.inputs
        self.noise = program.noise
        self.outputs = program.outputs
        self._partial_sums = partial_ports(program)
        plan = program.plan
        self._model_nbytes = SESSION_BYTES + (0 if plan is None else NODE_BYTES * plan.nodes)
        self._noise_arrays: dict[str, NDArray] = {}
        need = 0 if plan is None else plan.arena
        session = SHARED_MODELS.session(program, context, name, need)
        self._session = session if program.sharding is None else ShardedSession(session, program)
        self.hiding_nan = _hiding_nan(program, context)
        """The arguments from whose NaN the runtime would compute numbers."""

    @property
    def nbytes(self) -> int:
        """An estimate of the bytes of its session, less what others that run its model have."""
        return BINDING_BYTES + self._model_nbytes // len(self._session.model.sessions)

    def inputs_of(self, role: Role) -> list[Port]:
        """Return the inputs with this role, in order."""
        return [port for port in self.inputs if port.role is role]

    def outputs_of(self, role: Role) -> list[Port]:
        """Return the outputs with this role, in order."""
        return [port for port in self.outputs if port.role is role]

    def unbound(self, arrays: PortArrays) -> list[Port]:
        """Return the ports for which ``arrays`` has nothing."""
        ports = (*self.inputs, *self.outputs, *self._partial_sums)
        return [port for port in ports if arrays.find(port) is None]

    def bind(self, arrays: PortArrays) -> None:
        """Bind all ports that ``arrays`` has something for; the others stay as they are."""
        self._session.bind_inputs(_by_name(self.inputs, arrays))
        self._session.bind_outputs(_by_name((*self.outputs, *self._partial_sums), arrays))
        for port in self.inputs:
            array = arrays.find(port) if port.role is Role.NOISE else None
            if array is not None:
                self._noise_arrays[port.name] = array

    def release(self) -> None:
        """Forget all bound arrays; all ports must be bound again before ``run``."""
        self._noise_arrays.clear()
        self._session.release()

    def draw_noise(self, key: NoiseKey) -> None:
        """Write new random numbers into the inputs that are noise; equal keys, equal numbers."""
        for noise in self.noise:
            draw(noise, self._noise_arrays[noise.name], key)

    def run(self) -> None:
        """Run once over the bound arrays."""
        self._session.run()


def _by_name(ports: tuple[Port, ...], arrays: PortArrays) -> dict[str, NDArray]:
    pairs = ((port.name, arrays.find(port)) for port in ports)
    return {name: array for name, array in pairs if array is not None}


def _hiding_nan(program: Program, context: Context) -> list[str]:
    if not program.passes.get("use-recurrent-operators") or not provider_of(context).host_memory:
        return []
    hiding = inputs_hiding_nan(program.proto().graph)
    return [p.of for p in program.inputs if p.role is Role.ARGUMENT and p.name in hiding]
