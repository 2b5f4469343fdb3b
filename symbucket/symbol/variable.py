"""``Variable``: a named input of a network."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from symbucket.attribute import AttrScope
from symbucket.errors import InvalidArgumentError
from symbucket.symbol import infer
from symbucket.symbol.node import NO_ATTRIBUTES, Node, checked_name
from symbucket.symbol.symbol import Symbol


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
    """Return a named input of the network: data, a label or a parameter.

    Args:
        name: the name under which it is fed, initialised and stored.
        attr: further string attributes; keyword arguments of the form ``__key__`` too.
        shape: the shape, if it cannot be inferred; 0 marks a dimension to be inferred.
        lr_mult: factor on the learning rate. wd_mult: factor on the weight decay.
        dtype: numpy dtype; float32 unless inference determines another.
        init: an initializer, its registered name, or its ``dumps()`` text.
        stype: only "default" storage exists.
    """
    checked_name(name, "a Variable")
    if stype not in (None, "default"):
        raise InvalidArgumentError(f"Variable {name!r}: stype={stype!r}; only 'default' exists")
    attrs = AttrScope.current.get(dict(attr or {}))
    if shape is not None:
        attrs["__shape__"] = str(_checked_shape(name, shape))
    if lr_mult is not None:
        attrs["__lr_mult__"] = str(lr_mult)
    if wd_mult is not None:
        attrs["__wd_mult__"] = str(wd_mult)
    if dtype is not None:
        attrs["__dtype__"] = infer.dtype_text(infer.checked_dtype(name, dtype))
    if init is not None:
        attrs["__init__"] = init if isinstance(init, str) else init.dumps()
    for key, value in kwargs.items():
        if not (key.startswith("__") and key.endswith("__")):
            raise InvalidArgumentError(
                f"Variable {name!r}: unknown argument {key!r}; own attributes must look like "
                f"__{key}__"
            )
        attrs[key] = str(value)
    return Symbol([(Node(None, name, (), attrs or NO_ATTRIBUTES), 0)])


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
