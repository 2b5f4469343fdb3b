"""The record of one operator: arguments, attributes, shape rule and emission into ONNX.

A record is a class decorated with ``@operator("Name")``; its annotated fields are the attributes,
an instance is the operator with its attributes set. A new operator is one such class in a file of
``symbucket/ops`` (and its test).
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import onnx_ir as ir

from symbucket import seeding
from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.ir import Builder, Distribution
from symbucket.ops.attributes import describe, parse
from symbucket.ops.fixed_attributes import FixedAttributes
from symbucket.ops.instances import shared_instance
from symbucket.ops.registry import register
from symbucket.ops.shape import unify_all
from symbucket.types import DType, InferredShapes, InferredTypes, PartialDType, PartialShape, Shape

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Any:
        """typing_extensions is only there for type checkers."""
        return lambda f: f


_COUNTS = {"num_args", "num_outputs"}  # attributes that count inputs and outputs
_MAX_COUNT = 1 << 16
_SEEDS = 2**24  # seeds of RandomUniform are float32, which holds whole numbers up to this exactly


@dataclasses.dataclass(frozen=True)
class IndexBounds:
    """Integers from ``low`` to ``high - 1``, and ``also``, a label to ignore.

    ``what`` names in words what they count. ``low`` None: anything negative is taken as 0.
    ``lenient``: the operator computes what MXNet does with others, so only training refuses them.
    ``hint`` says what to do about them.
    """

    what: str
    high: int
    low: int | None = 0
    also: float | None = None
    lenient: bool = False
    hint: str = ""


class LoopEmitter(Protocol):
    """The loop whose body an Emitter writes."""

    outer: ir.Graph

    def slice_of(self, stack: ir.Value) -> ir.Value:
        """Return the body's slice of a further sequence (steps, ...), the first step first."""


class Emitter(Builder):
    """The builder for an operator's ``emit``, with the mode, output shapes and state updates."""

    def __init__(self, graph: ir.Graph, training: bool) -> None:
        super().__init__(graph)
        self.training = training
        self.aux_updates: dict[ir.Value, ir.Value] = {}
        self.draw_numbers: tuple[int, ...] = (0,)  # of the next draw, in a body one for each step
        self.first_draws: Mapping[Any, tuple[int, ...]] = {}  # by node, in a body for each step
        self.loop: LoopEmitter | None = None
        self.loops = False  # whether an operator may emit loops
        self.labels_in_range = True  # whether the host refuses labels that are no class
        self.branch = ""  # the operator whose nodes may not run at all, while they are written
        self._outputs: tuple[Sequence[Shape], Sequence[DType]] | None = None

    def noise(
        self, distribution: Distribution, shape: Shape, probability: float | None = None
    ) -> ir.Value:
        """Append a node that draws random numbers anew at every run (see ``symbucket.ir.noise``).

        ``probability``: of true, for "bernoulli". Draws are counted in the order of the user's
        nodes. The body of a loop reads slices of what is drawn for all steps.
        """
        if self.branch:
            raise UnsupportedError(
                f"random numbers are drawn before each run, and {self.branch} decides while it "
                "runs what to compute; draw them outside of it and use them inside"
            )
        numbers = [number + 1 for number in self.draw_numbers]
        self.draw_numbers = tuple(numbers)
        if self.loop is not None:
            with self.inside(self.loop.outer):
                stack = self.own(
                    "Noise",
                    distribution=distribution,
                    shape=[len(numbers), *shape],
                    probability=probability,
                    streams=numbers,
                )
            return self.loop.slice_of(stack)
        # The seed serves models for other runtimes only. It is counted, not named after the node:
        # automatic names go on counting when a network is made a second time in one process.
        seed = seeding.stream("noise", self.root.name or "", numbers[0]).integers(1, _SEEDS)
        return self.own(
            "Noise",
            distribution=distribution,
            shape=list(shape),
            probability=probability,
            stream=numbers[0],
            seed=int(seed),
        )

    @contextmanager
    def emitting(
        self, name: str, shapes: Sequence[Shape], dtypes: Sequence[DType]
    ) -> Iterator[None]:
        """Emit one node of the symbol inside, whose outputs have these shapes and dtypes."""
        outer, self._outputs = self._outputs, (shapes, dtypes)
        try:
            with self.scoped(name):
                yield
        finally:
            self._outputs = outer

    @property
    def out_shapes(self) -> Sequence[Shape]:
        """Shapes of the outputs of the node that is being emitted."""
        assert self._outputs is not None, "no node is being emitted"
        return self._outputs[0]

    @property
    def out_dtypes(self) -> Sequence[DType]:
        """Dtypes of the outputs of the node that is being emitted."""
        assert self._outputs is not None, "no node is being emitted"
        return self._outputs[1]

    def update_aux(self, state: ir.Value, new: ir.Value) -> None:
        """Set the value that the auxiliary state ``state`` has after this step."""
        self.aux_updates[state] = new


class Operator(FixedAttributes):
    """Base of all operator records.

    Subclasses override what differs from the most common kind, which is: one input ``data``, one
    output of the same shape and dtype, no auxiliary states. Each record annotates all its
    attributes, in MXNet's order; those of a base that is no record are not inherited.
    """

    op_name: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    method: ClassVar[str] = ""
    """Its name as a method of Symbol; empty if it is none."""
    shapes: ClassVar[str] = ""
    """Shapes of inputs and outputs for the documentation: ``"(n, *d), (k,) -> (n, k)"``.

    A name is one size, a starred name any number of sizes; the names of attributes stand for their
    values. Empty if all inputs and outputs have one shape.
    """
    formula: ClassVar[str] = ""
    """What it computes, for the documentation: of x, the first input, or of inputs by name."""
    example: ClassVar[str] = ""
    """A call of a function of ``symbucket.nd``, and its result: ``"abs([-1, 2]) -> [1, 2]"``.

    A list stands for an array; results have four digits.
    """
    implicit: ClassVar[tuple[str, ...]] = ()
    """Inputs that callers leave out by habit: they become variables (weights, states, labels)."""
    no_gradient: ClassVar[tuple[str, ...]] = ()
    """Inputs that no gradient flows to."""
    always_written: ClassVar[tuple[str, ...]] = ()
    """Attributes that symbol files hold at their defaults too, since MXNet requires them."""
    variadic: ClassVar[bool] = False
    """Takes any number of inputs, counted by the attribute ``num_args``."""
    count_in_files: ClassVar[str] = "num_args"
    """What MXNet's files call that number, which they must have."""
    is_loss: ClassVar[bool] = False
    """Its gradient ignores the head gradient."""
    divides_by_sample: ClassVar[bool] = False
    """Its gradient is divided by the values of a sample, those along all axes but the first."""
    moves_only: ClassVar[bool] = False
    """Every output element is some input element; ranges of values survive it."""
    random: ClassVar[bool] = False
    """May draw random numbers: equal nodes differ in value."""
    whole_batch: ClassVar[bool] = False
    """Computes over the batch, and must not see parts of it: several contexts are refused."""
    runs_python: ClassVar[bool] = False
    """Runs Python code, and is part of no model: networks are cut there."""
    holds_graphs: ClassVar[bool] = False
    """Runs graphs that come from functions; inputs and gradients are those that they have."""
    foreign: ClassVar[bool] = False
    """Holds nodes that others wrote: whether they can be trained is checked when it is bound."""

    def arguments(self) -> tuple[str, ...]:
        """Names of the inputs that are arguments."""
        return ("data",)

    def auxiliary(self) -> tuple[str, ...]:
        """Names of the inputs that are auxiliary states; they follow the arguments."""
        return ()

    def subgraphs(self) -> Sequence[Any]:
        """Return the graphs that the operator runs, as a symbol file lists them."""
        return ()

    def draws(self, training: bool) -> int:
        """Return how many draws ``emit`` makes."""
        return 0

    @property
    def may_draw(self) -> bool:
        """Whether an operator with these attributes draws random numbers in some mode."""
        return self.random and (self.draws(True) or self.draws(False)) > 0

    def initial_values(self) -> Mapping[str, float]:
        """Return what inputs that become variables begin with, unless an initializer is given."""
        return {}

    def constant_inputs(self) -> Mapping[str, float]:
        """Return the numbers that the operator takes some inputs for, whatever they hold."""
        return {}

    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        return ("output",)

    def infer_shape(self, ins: list[PartialShape], outs: list[PartialShape]) -> InferredShapes:
        """Return input and output shapes, completed from each other in both directions.

        Raises ShapeError if the shapes contradict each other.
        """
        shape = unify_all([*ins, *outs])
        return [shape] * len(ins), [shape] * len(outs)

    def infer_type(self, ins: list[PartialDType], outs: list[PartialDType]) -> InferredTypes:
        """Return input and output dtypes, completed from each other."""
        dtype = next((d for d in [*ins, *outs] if d is not None), None)
        return [d or dtype for d in ins], [d or dtype for d in outs]

    def index_bounds(self, ins: Sequence[Shape]) -> dict[str, IndexBounds]:
        """Return the arguments that hold integers of a limited range, with that range."""
        return {}

    def emit(self, g: Emitter, *inputs: Any, **_: Any) -> ir.Value | Sequence[ir.Value]:
        """Append the ONNX nodes of this operator and return its output or outputs.

        The values come in the order of ``arguments`` and ``auxiliary``. An override names them:
        ``def emit(self, g, data, weight, bias=None)``.
        """
        raise InvalidArgumentError(f"{self.op_name}: this operator has no expansion into ONNX")

    @classmethod
    def ignored_attributes(cls) -> frozenset[str]:
        """Return attributes of MXNet's files that are ignored here (tuning of its kernels)."""
        return frozenset(
            {"workspace", "cudnn_tune", "cudnn_off", "ctx", "num_args", "sparse_grad", "layout"}
            | {"min_calib_range", "max_calib_range"}
        )

    @classmethod
    def inputs(cls) -> dict[str, bool] | None:
        """Return every possible input -> whether it is always there; None if their number is open.

        They are the parameters of ``emit``; one that can be missing has the default None.
        """
        parameters = list(inspect.signature(cls.emit).parameters.values())[2:]
        if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
            return None
        return {p.name: p.default is inspect.Parameter.empty for p in parameters}

    @classmethod
    def fields(cls) -> dict[str, Any]:
        """Return attribute name -> annotation."""
        return _annotations(cls)

    @classmethod
    def takes(cls, name: str) -> bool:
        """Return whether an attribute of a symbol file is one of the operator's."""
        return name in cls.fields()

    @classmethod
    def required(cls) -> list[str]:
        """Return the attributes without a default."""
        missing = dataclasses.MISSING
        return [
            f.name
            for f in dataclasses.fields(cls)  # type: ignore[arg-type]
            if f.default is missing and f.default_factory is missing
        ]

    @classmethod
    def takes_none(cls, name: str) -> bool:
        """Return whether None is a value of an attribute, and not the same as leaving it out."""
        return type(None) in typing.get_args(cls.fields().get(name))

    @classmethod
    def make(cls, raw: Mapping[str, Any]) -> Operator:
        """Return an instance from raw attributes (Python values or strings), checked.

        Records never change, so equal attributes give one instance: the thousand steps of a cell
        hold a dozen records, and comparing two of them is a look at their identity.
        """
        return shared_instance(cls, raw, cls._make)

    @classmethod
    def _make(cls, raw: Mapping[str, Any]) -> Operator:
        fields = cls.fields()
        for name in raw:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, 1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise InvalidArgumentError(
                    f"{cls.op_name}: unknown attribute {name!r}.{hint} It has: "
                    f"{', '.join(fields) or 'none'}."
                )
        for name in cls.required():
            if raw.get(name) is None:
                raise InvalidArgumentError(
                    f"{cls.op_name}: attribute {name!r} is missing; it must be "
                    f"{describe(fields[name])}."
                )
        values = {k: parse(cls.op_name, k, fields[k], v) for k, v in raw.items()}
        for name in _COUNTS & values.keys():
            if values[name] > _MAX_COUNT:  # each gets a name, before anything can be compared
                raise InvalidArgumentError(
                    f"{cls.op_name}: {name}={values[name]} is too many; the most is {_MAX_COUNT}"
                )
        return cls(**values)

    def attributes(self) -> dict[str, Any]:
        """Return the attributes that differ from their defaults."""
        return {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)  # type: ignore[arg-type]
            if getattr(self, f.name) != f.default
        }

    def check(self, condition: bool, message: str) -> None:
        """Raise InvalidArgumentError with the operator's name unless ``condition``."""
        if not condition:
            raise InvalidArgumentError(f"{self.op_name}: {message}")


_annotation_cache: dict[type, dict[str, Any]] = {}


def _annotations(cls: type) -> dict[str, Any]:
    if cls not in _annotation_cache:
        hints = typing.get_type_hints(cls)
        names = [f.name for f in dataclasses.fields(cls)]
        _annotation_cache[cls] = {n: hints[n] for n in names}
    return _annotation_cache[cls]


_T = TypeVar("_T", bound=type[Operator])


@dataclass_transform(frozen_default=True, kw_only_default=True)
def operator(name: str, *aliases: str, method: str = "") -> Callable[[_T], _T]:
    """Make a class a dataclass of fixed attributes and register it under its name and aliases.

    ``method`` is the name of the operator as a method of Symbol, if it is one.
    """

    def decorate(cls: _T) -> _T:
        make = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=True)
        record = make(cls)
        record.op_name = name
        record.aliases = aliases
        record.method = method
        register(record, name, *aliases)
        return record  # type: ignore[return-value]

    return decorate
