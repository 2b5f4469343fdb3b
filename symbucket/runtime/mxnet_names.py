"""Names of MXNet's arrays that scripts use besides their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from symbucket import hooks
from symbucket.context import Context
from symbucket.errors import UnsupportedError

if TYPE_CHECKING:
    from symbucket.runtime.ndarray import NDArray

_NO_AUTOGRAD = (
    "there is no autograd: gradients come from a bound symbol. Write the function with mx.sym and "
    "bind it with args_grad=, then forward(is_train=True) and backward()"
)


class MXNetNames:
    """Names of MXNet's NDArray that need no operator."""

    __slots__ = ()

    @property
    def ctx(self) -> Context:
        """The context of the array."""
        return self.context  # type: ignore[attr-defined,no-any-return]

    @property
    def stype(self) -> str:
        """``"default"``: every array is dense."""
        return "default"

    @property
    def writable(self) -> bool:
        """Whether the array may be written to."""
        return bool(self.view().flags.writeable)  # type: ignore[attr-defined]

    @property
    def grad(self) -> None:
        """None: no array has a gradient attached."""

    @property
    def T(self) -> NDArray:  # noqa: N802 - as numpy calls it
        """The array with its axes in reverse order, as a new array."""
        return self.transpose()  # type: ignore[attr-defined,no-any-return]

    def wait_to_read(self) -> None:
        """Return at once: values are there when the call that makes them returns."""

    def wait_to_write(self) -> None:
        """Return at once, as ``wait_to_read``."""

    def as_in_context(self, context: Context) -> NDArray:
        """Return this array if it is on ``context``, else a copy there."""
        array: Any = self
        result: NDArray = array if context == array.context else array.copyto(context)
        return result

    def as_nd_ndarray(self) -> NDArray:
        """Return this array."""
        return self  # type: ignore[return-value]

    def broadcast_to(self, shape: Any) -> NDArray:
        """Return the array repeated to ``shape``, with axes of size 1 in front as needed."""
        array: Any = self
        one = isinstance(shape, (int, np.integer))
        sizes = (int(shape),) if one else tuple(map(int, shape))
        if len(sizes) > array.ndim:
            array = array.reshape((*[1] * (len(sizes) - array.ndim), *array.shape))
        result: NDArray = hooks.array_function("broadcast_to")(array, shape=sizes)
        return result

    def split_v2(
        self, indices_or_sections: Any, axis: int = 0, squeeze_axis: bool = False
    ) -> NDArray | list[NDArray]:
        """Return ``nd.split_v2`` of this array."""
        function = hooks.array_function("split_v2")
        result: NDArray | list[NDArray] = function(self, indices_or_sections, axis, squeeze_axis)
        return result

    def detach(self) -> NDArray:
        """Return a view of this array."""
        return self[...]  # type: ignore[index,no-any-return]

    def tostype(self, stype: str) -> NDArray:
        """Return a copy; only ``"default"`` is a storage type here."""
        if stype != "default":
            raise UnsupportedError(
                f"tostype({stype!r}): every array is dense here. Gradients of embeddings are "
                "row-sparse inside an update by themselves, where that is exact"
            )
        return self.copy()  # type: ignore[attr-defined,no-any-return]

    def attach_grad(self, grad_req: str = "write", stype: str | None = None) -> None:
        """Raise UnsupportedError: there is no autograd."""
        raise UnsupportedError(f"attach_grad: {_NO_AUTOGRAD}")

    def backward(self, *_: Any, **__: Any) -> None:
        """Raise UnsupportedError: there is no autograd."""
        raise UnsupportedError(f"NDArray.backward: {_NO_AUTOGRAD}")

    def to_dlpack_for_read(self) -> Any:
        """Return a DLPack capsule of this array's memory, for reading; one use."""
        return self.__dlpack__()

    def to_dlpack_for_write(self) -> Any:
        """Return a DLPack capsule of this array's memory, for writing; one use."""
        return self.__dlpack__()

    def __dlpack__(self, **options: Any) -> Any:
        return self.view().__dlpack__(**options)  # type: ignore[attr-defined]

    def __dlpack_device__(self) -> Any:
        return self.view().__dlpack_device__()  # type: ignore[attr-defined]
