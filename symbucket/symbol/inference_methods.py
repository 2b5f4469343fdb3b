"""``InferenceMethods``: shapes and dtypes of a symbol, from those of some of its arguments."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from symbucket.checks import listing
from symbucket.symbol import infer
from symbucket.types import DType, Shape

if TYPE_CHECKING:
    from symbucket.symbol.node import Entry, Node


class InferenceMethods:
    """The methods of Symbol that infer."""

    __slots__ = ()

    if TYPE_CHECKING:  # Symbol has them

        @property
        def heads(self) -> tuple[Entry, ...]: ...  # noqa: D102

        def nodes(self) -> list[Node]: ...  # noqa: D102

        def variables(self) -> tuple[list[Node], list[Node]]: ...  # noqa: D102

        def list_inputs(self) -> list[str]: ...  # noqa: D102

    def infer_shape(self, **shapes: Sequence[int]) -> tuple[Any, Any, Any]:
        """Return the shapes of arguments, outputs and auxiliary states, each in listed order.

        If some stay unknown, a warning names the arguments, and the result is (None, None, None),
        as in MXNet.

        Args:
            shapes: shapes of arguments, by name, 0 for an unknown dimension. They take precedence
                over the ``shape=`` of a variable.

        Raises:
            ShapeError: shapes contradict each other; names the node.
        """
        table = infer.infer_shapes(self.nodes(), shapes)
        if table.is_complete():
            return self._collect(table.shape_of)
        warnings.warn(table.unknown_text(), stacklevel=2)
        return None, None, None

    def complete_shapes(
        self, **shapes: Sequence[int]
    ) -> tuple[list[Shape], list[Shape], list[Shape]]:
        """Infer as ``infer_shape``; raise ShapeError with the names of arguments left unknown."""
        table = infer.infer_shapes(self.nodes(), shapes)
        table.require_complete()
        return self._collect(table.shape_of)

    def infer_shape_partial(
        self, **shapes: Sequence[int]
    ) -> tuple[list[Shape], list[Shape], list[Shape]]:
        """Infer as ``infer_shape``, but leave an unknown shape () and an unknown dimension 0."""
        table = infer.infer_shapes(self.nodes(), shapes)
        return self._collect(lambda entry: table.shape_of(entry) or ())

    def infer_type(self, **dtypes: Any) -> tuple[Any, Any, Any]:
        """Return the dtypes of arguments, outputs and auxiliary states; float32 if undetermined.

        If nothing is known of any, a warning says so, and the result is (None, None, None), as in
        MXNet.
        """
        partial = infer.infer_types_partial(self.nodes(), dtypes)
        if any(dtype is not None for dtype in partial.values()):
            return self.complete_types(**dtypes)
        warnings.warn(
            f"The dtypes of {listing(self.list_inputs(), 12)} cannot be inferred; give one as in "
            f"{self.list_inputs()[0]}='float32'",
            stacklevel=2,
        )
        return None, None, None

    def complete_types(self, **dtypes: Any) -> tuple[list[DType], list[DType], list[DType]]:
        """Infer as ``infer_type``; what nothing determines is float32."""
        table = infer.infer_types(self.nodes(), dtypes)
        return self._collect(table.__getitem__)

    def infer_type_partial(
        self, **dtypes: Any
    ) -> tuple[list[DType | None], list[DType | None], list[DType | None]]:
        """Infer as ``infer_type``, but leave a dtype that nothing determines None."""
        table = infer.infer_types_partial(self.nodes(), dtypes)
        return self._collect(table.get)

    def _collect(self, of: Callable[[Entry], Any]) -> tuple[Any, Any, Any]:
        arguments, auxiliary = self.variables()
        return (
            [of((n, 0)) for n in arguments],
            [of(head) for head in self.heads],
            [of((n, 0)) for n in auxiliary],
        )
