"""``Symbol``: an immutable expression that describes a network; nothing is computed here."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from symbucket.attribute import AttrScope
from symbucket.errors import InvalidArgumentError
from symbucket.ops.record import find
from symbucket.symbol import infer, serialize
from symbucket.symbol.node import Entry, Node, auxiliary_states, check_names, topological
from symbucket.types import DType, PartialShape, Shape

# Methods on a symbol that are operators with the symbol as first input, as in MXNet.
_FLUENT = frozenset(
    "abs argmax argmin broadcast_axes broadcast_like broadcast_to cbrt ceil clip cos "
    "erf exp expand_dims "
    "flatten flip floor log log1p log_softmax max mean min norm ones_like one_hot pick prod "
    "reciprocal relu repeat reshape reshape_like round rsqrt sigmoid sign sin slice slice_axis "
    "slice_like softmax split sqrt square squeeze stack sum swapaxes take tanh tile transpose "
    "zeros_like".split()
)


class Symbol:
    """One or several outputs of a graph of operators and variables.

    Symbols are made by ``Variable``, by operator functions (``sym.FullyConnected(...)``), by
    arithmetic, indexing and ``Group``. They never change; composing makes new ones.
    """

    __slots__ = ("_heads", "_nodes")
    # numpy must leave `np.float32(2) * symbol` to __rmul__ instead of taking symbols for sequences.
    __array_ufunc__ = None

    # The layers above fill these in when they are imported; a symbol by itself knows no runtime.
    _binder: ClassVar[Callable[..., Any] | None] = None
    _simple_binder: ClassVar[Callable[..., Any] | None] = None

    def __init__(self, heads: Sequence[Entry]) -> None:
        object.__setattr__(self, "_heads", tuple(heads))
        object.__setattr__(self, "_nodes", None)

    _heads: tuple[Entry, ...]
    _nodes: tuple[Node, ...] | None  # found once: nothing beneath a symbol ever changes

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Symbol is immutable; cannot set {name!r}")

    # Structure -------------------------------------------------------------------------------

    @property
    def heads(self) -> tuple[Entry, ...]:
        """The (node, output index) pairs that this symbol stands for."""
        return self._heads

    @property
    def name(self) -> str | None:
        """The node's name; None for a symbol of several nodes."""
        nodes = {id(node) for node, _ in self._heads}
        return self._heads[0][0].name if len(nodes) == 1 else None

    def nodes(self) -> list[Node]:
        """Every node beneath, inputs before users."""
        if self._nodes is None:
            object.__setattr__(self, "_nodes", tuple(topological(self._heads)))
        assert self._nodes is not None
        return list(self._nodes)

    def variables(self) -> tuple[list[Node], list[Node]]:
        """The variable nodes: arguments, and auxiliary states.

        Raises NameConflictError where two different variables carry one name.
        """
        nodes = self.nodes()
        check_names(nodes)
        auxiliary = auxiliary_states(nodes)
        variables = [n for n in nodes if n.op is None]
        return (
            [n for n in variables if n not in auxiliary],
            [n for n in variables if n in auxiliary],
        )

    def __len__(self) -> int:
        return len(self._heads)

    def __iter__(self) -> Iterator[Symbol]:
        return (Symbol([head]) for head in self._heads)

    def __getitem__(self, index: int | str | slice) -> Symbol:
        if isinstance(index, str):
            outputs = self.list_outputs()
            matches = [i for i, name in enumerate(outputs) if name == index]
            if not matches:  # ``internals["fc1"]`` finds "fc1_output", a friendly shorthand
                matches = [i for i, name in enumerate(outputs) if name == f"{index}_output"]
            if len(matches) != 1:
                found = "no output" if not matches else f"{len(matches)} outputs"
                raise InvalidArgumentError(
                    f"{found} named {index!r}; the outputs are: {_short(outputs)}"
                )
            index = matches[0]
        if isinstance(index, slice):
            if not self._heads[index]:
                raise IndexError(f"{index} selects none of the {len(self)} outputs")
            return Symbol(self._heads[index])
        if not isinstance(index, (int, np.integer)):
            raise InvalidArgumentError(
                f"an output is chosen by number, name or slice, not by {index!r}"
            )
        if not -len(self) <= index < len(self):
            raise IndexError(f"output {index} of a symbol with {len(self)} outputs")
        return Symbol([self._heads[index]])

    def list_arguments(self) -> list[str]:
        """Names of all variables that are not auxiliary states: data, labels and parameters."""
        return [n.name for n in self.variables()[0]]

    def list_auxiliary_states(self) -> list[str]:
        """Names of the auxiliary states (as BatchNorm's moving averages)."""
        return [n.name for n in self.variables()[1]]

    def list_inputs(self) -> list[str]:
        """Names of all variables, auxiliary states too."""
        return [n.name for n in self.nodes() if n.op is None]

    def list_outputs(self) -> list[str]:
        """Names of the outputs: ``fc1_output``, a variable's own name."""
        return [entry_name(head) for head in self._heads]

    def get_internals(self) -> Symbol:
        """A group of the outputs of every node beneath; index it by name."""
        return Symbol([(n, i) for n in self.nodes() for i in range(n.num_outputs)])

    def get_children(self) -> Symbol | None:
        """The direct inputs of the heads' nodes, or None for a variable."""
        seen: dict[int, Node] = {id(node): node for node, _ in self._heads}
        entries = [entry for node in seen.values() for entry in node.inputs]
        return Symbol(entries) if entries else None

    # Attributes ------------------------------------------------------------------------------

    def attr(self, key: str) -> str | None:
        """The attribute ``key`` of a symbol of one node, as a string."""
        return serialize.node_attrs(self._heads[0][0]).get(key)

    def list_attr(self) -> dict[str, str]:
        """The attributes of a symbol of one node."""
        return serialize.node_attrs(self._heads[0][0])

    def attr_dict(self) -> dict[str, dict[str, str]]:
        """Node name -> its attributes, for every node that has some."""
        found = ((n.name, serialize.node_attrs(n)) for n in self.nodes())
        return {name: attrs for name, attrs in found if attrs}

    # Inference -------------------------------------------------------------------------------

    def infer_shape(self, **shapes: Sequence[int]) -> tuple[list[Shape], list[Shape], list[Shape]]:
        """Shapes of arguments, outputs and auxiliary states from the given argument shapes.

        Raises ShapeError, which names the arguments that stay unknown or the node where shapes
        contradict each other.
        """
        table = infer.infer_shapes(self.nodes(), shapes)
        table.require_complete(self._heads)
        return self._collect(table.shape_of)

    def infer_shape_partial(
        self, **shapes: Sequence[int]
    ) -> tuple[list[PartialShape], list[PartialShape], list[PartialShape]]:
        """Like ``infer_shape``; what is not known stays None (or 0 in a dimension)."""
        table = infer.infer_shapes(self.nodes(), shapes)
        return self._collect(table.shape_of)

    def infer_type(self, **dtypes: Any) -> tuple[list[DType], list[DType], list[DType]]:
        """dtypes of arguments, outputs and auxiliary states; unknown ones become float32."""
        table = infer.infer_types(self.nodes(), dtypes)
        return self._collect(table.__getitem__)

    def _collect(self, of: Callable[[Entry], Any]) -> tuple[Any, Any, Any]:
        arguments, auxiliary = self.variables()
        return (
            [of((n, 0)) for n in arguments],
            [of(head) for head in self._heads],
            [of((n, 0)) for n in auxiliary],
        )

    # Files -----------------------------------------------------------------------------------

    def tojson(self) -> str:
        """The symbol as JSON in the layout of MXNet's symbol files."""
        return serialize.to_json(self._heads)

    def save(self, path: str) -> None:
        """Write ``tojson()`` to a file, atomically."""
        serialize.save(self._heads, path)

    # Running by itself -----------------------------------------------------------------------

    def simple_bind(
        self,
        ctx: Any = None,
        grad_req: str | Sequence[str] | Mapping[str, str] = "write",
        type_dict: Mapping[str, Any] | None = None,
        **shapes: Sequence[int],
    ) -> Any:
        """An executor with freshly allocated arrays; shapes are inferred from those given.

        ``grad_req`` is "write", "add" or "null", one for all arguments, or by name or position.
        """
        if Symbol._simple_binder is None:
            raise InvalidArgumentError("import symbucket before binding a symbol")
        return Symbol._simple_binder(self, ctx, grad_req, type_dict, shapes)

    def bind(
        self,
        ctx: Any,
        args: Mapping[str, Any] | Sequence[Any],
        args_grad: Mapping[str, Any] | Sequence[Any] | None = None,
        grad_req: str | Sequence[str] | Mapping[str, str] = "write",
        aux_states: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> Any:
        """An executor over the given arrays (NDArrays are shared, other arrays copied)."""
        if Symbol._binder is None:
            raise InvalidArgumentError("import symbucket before binding a symbol")
        return Symbol._binder(self, ctx, args, args_grad, grad_req, aux_states)

    def eval(self, ctx: Any = None, **arrays: Any) -> list[Any]:
        """Bind to ``arrays``, run forward once and give the outputs."""
        return list(self.bind(ctx, arrays, None, "null").forward())

    # Operators -------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        if name in _FLUENT:
            return lambda *args, **kwargs: apply(name, [self, *args], kwargs)
        raise AttributeError(f"Symbol has no attribute {name!r}")

    def __add__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_plus", "_plus_scalar")

    __radd__ = __add__

    def __sub__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_minus", "_minus_scalar")

    def __rsub__(self, other: float) -> Symbol:
        return _binary(self, other, "_minus", "_rminus_scalar")

    def __mul__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_mul", "_mul_scalar")

    __rmul__ = __mul__

    def __truediv__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_div", "_div_scalar")

    def __rtruediv__(self, other: float) -> Symbol:
        return _binary(self, other, "_div", "_rdiv_scalar")

    def __mod__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_mod", "_mod_scalar")

    def __rmod__(self, other: float) -> Symbol:
        return _binary(self, other, "_mod", "_rmod_scalar")

    def __pow__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_power", "_power_scalar")

    def __rpow__(self, other: float) -> Symbol:
        return _binary(self, other, "_power", "_rpower_scalar")

    def __neg__(self) -> Symbol:
        return apply("negative", [self], {})

    def __abs__(self) -> Symbol:
        return apply("abs", [self], {})

    def __eq__(self, other: object) -> Any:
        return _binary(self, other, "_equal", "_equal_scalar")

    def __ne__(self, other: object) -> Any:
        return _binary(self, other, "_not_equal", "_not_equal_scalar")

    def __gt__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_greater", "_greater_scalar")

    def __ge__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_greater_equal", "_greater_equal_scalar")

    def __lt__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_lesser", "_lesser_scalar")

    def __le__(self, other: Symbol | float) -> Symbol:
        return _binary(self, other, "_lesser_equal", "_lesser_equal_scalar")

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError(
            "A Symbol has no truth value: it is a description, not a number. Compare with 'is', or "
            "use sym.where to choose inside the network."
        )

    def __copy__(self) -> Symbol:
        return self

    def __deepcopy__(self, memo: Any) -> Symbol:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return load_json, (self.tojson(),)

    def __repr__(self) -> str:
        return f"<Symbol {self.name or 'group [' + _short(self.list_outputs()) + ']'}>"


def _short(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")


def entry_name(entry: Entry) -> str:
    """The output name of an entry: ``fc_output``, ``split_output1``, a variable's own name."""
    node, index = entry
    return node.name if node.op is None else f"{node.name}_{node.op.outputs()[index]}"


def _binary(left: Symbol, right: Any, with_symbol: str, with_scalar: str) -> Symbol:
    if isinstance(right, Symbol):
        return apply(with_symbol, [left, right], {})
    if isinstance(right, (int, float, np.number)):
        from symbucket.symbol.compose import compose

        # MXNet's automatic names: _plusscalar0, _rminusscalar1.
        called = with_scalar.replace("_scalar", "scalar")
        return compose(find(with_scalar), called, [left], {"scalar": float(right)})
    return NotImplemented  # type: ignore[no-any-return] # Python tries the other operand then


def apply(op_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Symbol:
    """Apply an operator by name; see ``symbucket.symbol.compose`` for the calling rules."""
    from symbucket.symbol.compose import compose  # compose needs Symbol itself

    return compose(find(op_name), op_name, args, kwargs)


def Variable(  # noqa: N802 - MXNet's name
    name: str,
    attr: Mapping[str, str] | None = None,
    shape: Sequence[int] | None = None,
    lr_mult: float | None = None,
    wd_mult: float | None = None,
    dtype: Any = None,
    init: Any = None,
    stype: str | None = None,
    **kwargs: str,
) -> Symbol:
    """A named input of the network: data, a label or a parameter.

    Args:
        name: the name under which it is fed, initialised and stored.
        attr: further string attributes; keyword arguments of the form ``__key__`` too.
        shape: the shape, where it cannot be inferred; 0 marks a dimension to be inferred.
        lr_mult: factor on the learning rate. wd_mult: factor on the weight decay.
        dtype: numpy dtype; float32 where nothing says otherwise.
        init: an initializer, its registered name, or its ``dumps()`` text.
        stype: only "default" storage exists.
    """
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError(f"Variable: the name must be a non-empty string, not {name!r}")
    if stype not in (None, "default"):
        raise InvalidArgumentError(f"Variable {name!r}: stype={stype!r}; only 'default' exists")
    attrs = AttrScope.current().get(dict(attr or {}))
    if shape is not None:
        attrs["__shape__"] = str(_checked_shape(name, shape))
    if lr_mult is not None:
        attrs["__lr_mult__"] = str(lr_mult)
    if wd_mult is not None:
        attrs["__wd_mult__"] = str(wd_mult)
    if dtype is not None:
        attrs["__dtype__"] = infer.checked_dtype(name, dtype).name
    if init is not None:
        attrs["__init__"] = init if isinstance(init, str) else init.dumps()
    for key, value in kwargs.items():
        if not (key.startswith("__") and key.endswith("__")):
            raise InvalidArgumentError(
                f"Variable {name!r}: unknown argument {key!r}; own attributes must look like "
                f"__{key}__"
            )
        attrs[key] = str(value)
    return Symbol([(Node(None, name, (), attrs), 0)])


def _checked_shape(name: str, shape: Any) -> tuple[int, ...]:
    try:
        sizes = tuple(operator.index(d) for d in shape)
    except TypeError:
        sizes = (-1,)
    if any(d < 0 for d in sizes):
        raise InvalidArgumentError(
            f"Variable {name!r}: shape={shape!r} must be a tuple of whole numbers, 0 for a "
            "dimension to be inferred"
        )
    return sizes


def Group(symbols: Sequence[Symbol]) -> Symbol:  # noqa: N802 - MXNet's name
    """One symbol with the outputs of all ``symbols``."""
    symbols = list(symbols)
    if not symbols or not all(isinstance(s, Symbol) for s in symbols):
        raise InvalidArgumentError("Group needs one or more Symbols")
    return Symbol([head for s in symbols for head in s.heads])


def load_json(text: str) -> Symbol:
    """A symbol from the text that ``tojson`` (or MXNet) wrote."""
    return Symbol(serialize.from_json(text))


def load(path: str) -> Symbol:
    """A symbol from a file that ``save`` (or MXNet) wrote."""
    return load_json(serialize.read(path))
