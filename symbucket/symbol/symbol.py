"""``Symbol``: an immutable expression that describes a network; nothing is computed here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from symbucket import hooks
from symbucket.attribute import stored_name, with_plain_names
from symbucket.checks import listing
from symbucket.errors import InvalidArgumentError, SymbolValueError, UnsupportedError
from symbucket.symbol import deserialize, infer, nx_graph, serialize
from symbucket.symbol.arithmetic import Arithmetic
from symbucket.symbol.brief import brief
from symbucket.symbol.digest import network_digest
from symbucket.symbol.fluent import FluentMethods
from symbucket.symbol.inference_methods import InferenceMethods
from symbucket.symbol.node import (
    Entry,
    Node,
    auxiliary_states,
    check_names,
    substitute,
    topological,
)
from symbucket.symbol.text import debug_text, node_table

if TYPE_CHECKING:
    import networkx as nx

T = TypeVar("T")


class Symbol(InferenceMethods, FluentMethods, Arithmetic):
    """One or several outputs of a graph of operators and variables.

    Symbols are made by ``Variable``, by operator functions (``sym.FullyConnected(...)``), by
    arithmetic, indexing and ``Group``. They never change; composing makes new ones.
    """

    __slots__ = ("_derived", "_heads", "_nodes")

    def __init__(self, heads: Sequence[Entry]) -> None:
        object.__setattr__(self, "_heads", tuple(heads))
        object.__setattr__(self, "_nodes", None)
        object.__setattr__(self, "_derived", None)

    _heads: tuple[Entry, ...]
    _nodes: tuple[Node, ...] | None  # walked once: nothing beneath a symbol ever changes
    _derived: dict[Callable[[Symbol], Any], Any] | None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Symbol is immutable; cannot set {name!r}")

    def __call__(self, *, name: str | None = None, **inputs: Symbol) -> Symbol:
        """Return this network with other symbols in the place of some of its variables.

        Args:
            name: of the node of the result, if it has a single output.
            inputs: variable name -> symbol of one output.

        Raises:
            InvalidArgumentError: a name is no variable of this symbol, or a symbol has several
                outputs.
        """
        variables = self.list_inputs()
        for key, symbol in inputs.items():
            if key not in variables:
                raise InvalidArgumentError(
                    f"{key!r} is no variable of {self!r}, so nothing can take its place; it has "
                    f"{listing(variables, 12)}"
                )
            if not isinstance(symbol, Symbol) or len(symbol) != 1:
                raise InvalidArgumentError(
                    f"{symbol!r} cannot take the place of {key!r}; give a Symbol of one output"
                )
        heads = substitute(self._heads, {key: symbol.heads[0] for key, symbol in inputs.items()})
        if name is not None and len(heads) == 1 and self._heads[0][0].op is not None:
            heads = [(heads[0][0].changed(name=name), heads[0][1])]
        return Symbol(heads)

    # Structure -------------------------------------------------------------------------------

    @property
    def heads(self) -> tuple[Entry, ...]:
        """The outputs that this symbol stands for, as pairs of node and output number."""
        return self._heads

    @property
    def name(self) -> str | None:
        """The node's name; None for a symbol of several nodes."""
        nodes = {id(node) for node, _ in self._heads}
        return self._heads[0][0].name if len(nodes) == 1 else None

    def nodes(self) -> list[Node]:
        """Return every node beneath, inputs before users."""
        if self._nodes is None:
            object.__setattr__(self, "_nodes", tuple(topological(self._heads)))
        assert self._nodes is not None
        return list(self._nodes)

    def variables(self) -> tuple[list[Node], list[Node]]:
        """Return the variable nodes: arguments, and auxiliary states.

        Raises NameConflictError if two different variables have the same name.
        """
        arguments, auxiliary = self.derived(_variables)
        return list(arguments), list(auxiliary)

    def derived(self, compute: Callable[[Symbol], T]) -> T:
        """Return ``compute(self)``, which is called once: a symbol never changes.

        For what takes a walk over all nodes and is asked for again and again. The result must not
        be changed either.
        """
        if self._derived is None:
            object.__setattr__(self, "_derived", {})
        assert self._derived is not None
        if compute not in self._derived:
            self._derived[compute] = compute(self)
        result: T = self._derived[compute]
        return result

    def forget(self, compute: Callable[[Symbol], Any]) -> None:
        """Drop the result of ``derived(compute)``, which is worked out again when it is asked for.

        For what is large and seldom asked for.
        """
        if self._derived is not None:
            self._derived.pop(compute, None)

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
                count = "no output" if not matches else f"{len(matches)} outputs"
                raise InvalidArgumentError(
                    f"{count} named {index!r}; the outputs are: {listing(outputs, 12)}"
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
        """Return the names of all arguments: data, labels and parameters."""
        return [n.name for n in self.variables()[0]]

    def list_auxiliary_states(self) -> list[str]:
        """Return the names of the auxiliary states, such as BatchNorm's moving averages."""
        return [n.name for n in self.variables()[1]]

    def list_inputs(self) -> list[str]:
        """Return the names of all variables, auxiliary states included."""
        return self.derived(_inputs)[:]

    def list_outputs(self) -> list[str]:
        """Return the names of the outputs: ``fc1_output``; a variable's is its own name."""
        return [entry_name(head) for head in self._heads]

    def get_internals(self) -> Symbol:
        """Return a group of the outputs of every node beneath; index it by name."""
        return Symbol([(n, i) for n in self.nodes() for i in range(n.num_outputs)])

    def get_children(self) -> Symbol | None:
        """Return the direct inputs of the heads' nodes, None for a variable."""
        seen: dict[int, Node] = {id(node): node for node, _ in self._heads}
        entries = [entry for node in seen.values() for entry in node.inputs]
        return Symbol(entries) if entries else None

    # Attributes ------------------------------------------------------------------------------

    def attr(self, key: str) -> str | None:
        """Return the attribute ``key`` of the first output's node, None if it is not set."""
        attributes = serialize.node_attrs(self._heads[0][0])
        return attributes.get(key, attributes.get(stored_name(key)))

    def list_attr(self) -> dict[str, str]:
        """Return the attributes of the first output's node.

        Those that have two underscores on either side in MXNet's files, as ``__lr_mult__``, are
        also there without.
        """
        return with_plain_names(serialize.node_attrs(self._heads[0][0]))

    def attr_dict(self) -> dict[str, dict[str, str]]:
        """Return node name -> attributes as in ``list_attr``, for every node that has any."""
        rendered: dict[int, dict[str, str]] = {}  # by record, which many nodes share
        result = {}
        for node in self.nodes():
            own = rendered.get(id(node.op))
            if own is None:
                own = rendered[id(node.op)] = serialize.operator_attrs(node)
            if own or node.attrs:
                result[node.name] = with_plain_names({**own, **node.attrs})
        return result

    # Other symbols ---------------------------------------------------------------------------

    def astype(self, dtype: Any, name: str | None = None) -> Symbol:
        """Return the values in another dtype, as ``sym.Cast``."""
        from symbucket.symbol.compose import apply  # needs Symbol

        return apply("cast", [self], {"dtype": dtype, "name": name})

    def split_v2(self, *args: Any, **kwargs: Any) -> Symbol:
        """Return parts of this symbol, as ``sym.split_v2``."""
        from symbucket.symbol.shorthands import split_v2  # needs Symbol

        return split_v2(self, *args, **kwargs)

    # Graph -----------------------------------------------------------------------------------

    def to_networkx(self, **shapes: Sequence[int]) -> nx.MultiDiGraph[str]:
        """Return the graph beneath as a networkx graph, nodes in topological order.

        A node is known by its name (``name#1`` if an earlier one has the same name). Its attributes
        are ``op`` (the operator's name, "null" for a variable as in symbol files), ``name`` and
        ``attrs``, its attributes as strings. An edge is one input of a node: ``argument`` is its
        name, ``input`` its number, ``output`` the number of the output that it reads.
        ``graph["heads"]`` lists the symbol's outputs as pairs of node and output number.

        Args:
            shapes: shapes of arguments. If there are any, every node has ``shapes``, one entry an
                output as in ``infer_shape_partial``.
        """
        table = infer.infer_shapes(self.nodes(), shapes) if shapes else None
        return nx_graph.to_networkx(self.nodes(), self._heads, table)

    def debug_str(self) -> str:
        """Return the graph as text: outputs, then every node with its inputs and attributes."""
        return debug_text(self.nodes(), self._heads)

    # Files -----------------------------------------------------------------------------------

    def tojson(self) -> str:
        """Return the symbol as JSON in the layout of MXNet's symbol files."""
        return serialize.to_json(self._heads)

    def save(self, path: str) -> None:
        """Write ``tojson()`` to a file, atomically."""
        serialize.save(self._heads, path)

    def digest(self) -> str:
        """Return a SHA-256 of what the network computes from its named variables, in hex.

        Names of other nodes, and users' attributes such as ``lr_mult``, do not count.
        """
        return network_digest(self._heads)

    # Running by itself -----------------------------------------------------------------------

    def simple_bind(
        self,
        ctx: Any = None,
        grad_req: str | Sequence[str] | Mapping[str, str] = "write",
        type_dict: Mapping[str, Any] | None = None,
        stype_dict: Mapping[str, str] | None = None,
        group2ctx: Mapping[str, Any] | None = None,
        shared_arg_names: Sequence[str] | None = None,
        shared_exec: Any = None,
        shared_buffer: dict[str, Any] | None = None,
        **kwargs: Sequence[int],
    ) -> Any:
        """Return an executor with newly allocated arrays, zeros.

        Args:
            ctx: the device; the CPU by default.
            grad_req: "write", "add" or "null", for all arguments, or by name or position.
            type_dict: dtypes of arguments, by name.
            stype_dict, group2ctx: MXNet's, without effect: arrays are dense, on one context.
            shared_arg_names: arguments whose arrays and gradients are those of ``shared_exec``.
            shared_exec: an executor; its auxiliary states of equal names are shared too.
            shared_buffer: arrays by name to take for the other arguments; new ones are added.
            kwargs: shapes of arguments, by name; the others are inferred.
        """
        if stype_dict and any(stype != "default" for stype in stype_dict.values()):
            raise UnsupportedError(
                f"simple_bind: stype_dict={dict(stype_dict)!r} asks for sparse arrays, and there "
                "are only dense ones"
            )
        return hooks.simple_bind(
            self,
            ctx,
            grad_req,
            type_dict,
            shared_arg_names,
            shared_exec,
            shared_buffer,
            kwargs,
        )

    def bind(
        self,
        ctx: Any,
        args: Mapping[str, Any] | Sequence[Any],
        args_grad: Mapping[str, Any] | Sequence[Any] | None = None,
        grad_req: str | Sequence[str] | Mapping[str, str] = "write",
        aux_states: Mapping[str, Any] | Sequence[Any] | None = None,
        group2ctx: Mapping[str, Any] | None = None,
        shared_exec: Any = None,
    ) -> Any:
        """Return an executor over existing arrays; NDArrays are shared, other arrays copied.

        Dicts may have more names than the symbol has. ``group2ctx`` and ``shared_exec`` are
        MXNet's, without effect: an executor runs on one context and has its own outputs.
        """
        return hooks.bind(self, ctx, args, args_grad, grad_req, aux_states)

    def eval(self, ctx: Any = None, **arrays: Any) -> list[Any]:
        """Bind to ``arrays``, run forward once and return the outputs."""
        return list(self.bind(ctx, arrays, None, "null").forward())

    def __bool__(self) -> bool:
        raise SymbolValueError(
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
        return f"<Symbol {self.name or 'group [' + listing(self.list_outputs(), 12) + ']'}>"

    def _repr_html_(self) -> str:
        """Return the folded picture of the network where Graphviz is installed, else a table."""
        svg: str | None = hooks.inline_svg(self)
        if svg is not None:
            return svg
        return node_table(self.nodes(), caption=repr(self))


def _inputs(symbol: Symbol) -> list[str]:
    return [n.name for n in brief(symbol).nodes if n.op is None]


def _variables(symbol: Symbol) -> tuple[list[Node], list[Node]]:
    nodes = brief(symbol).nodes
    check_names(nodes)
    auxiliary = auxiliary_states(nodes)
    variables = [n for n in nodes if n.op is None]
    return (
        [n for n in variables if n not in auxiliary],
        [n for n in variables if n in auxiliary],
    )


def entry_name(entry: Entry) -> str:
    """Return the name of an output: ``fc_output``, ``split_output1``; a variable's own name."""
    node, index = entry
    return node.name if node.op is None else f"{node.name}_{node.op.outputs()[index]}"


def Group(symbols: Sequence[Symbol]) -> Symbol:  # noqa: N802 - MXNet's name
    """Return one symbol with the outputs of all ``symbols``."""
    symbols = list(symbols)
    if not symbols or not all(isinstance(s, Symbol) for s in symbols):
        raise InvalidArgumentError("Group needs one or more Symbols")
    return Symbol([head for s in symbols for head in s.heads])


def load_json(text: str) -> Symbol:
    """Return the symbol in a text that ``tojson`` (or MXNet) wrote."""
    return Symbol(deserialize.from_json(text))


def load(path: str) -> Symbol:
    """Return the symbol in a file that ``save`` (or MXNet) wrote."""
    return load_json(deserialize.read(path))
