"""Signatures and documentation of the functions of ``mx.nd``, from the operator records."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from inspect import Parameter
from types import GenericAlias
from typing import Any

from symbucket.context import Context
from symbucket.ops import Operator
from symbucket.runtime import NDArray
from symbucket.symbol import functions

_OF_SYMBOLS = ("name", "attr")
_RESULTS: Any = NDArray | GenericAlias(list, NDArray)


def signature(record: type[Operator]) -> inspect.Signature:
    """Return the signature of an operator's function: inputs, attributes, ``out``, ``ctx``."""
    several = record.outputs is not Operator.outputs
    out: Any = NDArray | GenericAlias(Sequence, NDArray) if several else NDArray
    parameters = [
        *_parameters(record),
        Parameter("out", Parameter.KEYWORD_ONLY, default=None, annotation=out | None),
    ]
    if record.inputs() == {}:
        context: Any = Context | None
        parameters.append(
            Parameter("ctx", Parameter.KEYWORD_ONLY, default=None, annotation=context)
        )
    return inspect.Signature(parameters, return_annotation=_RESULTS if several else NDArray)


def _parameters(record: type[Operator]) -> Iterator[Parameter]:
    """Those of the function that makes a symbol, with arrays; no array is made up."""
    inputs = record.inputs()
    for parameter in functions.signature(record).parameters.values():
        if parameter.name in _OF_SYMBOLS or parameter.kind is Parameter.VAR_KEYWORD:
            continue
        if parameter.kind is Parameter.VAR_POSITIONAL:
            one_list: Any = GenericAlias(Sequence, NDArray)
            annotation: Any = NDArray | one_list if record.variadic else NDArray
            yield parameter.replace(annotation=annotation)
        elif inputs is not None and parameter.name in inputs:
            always = inputs[parameter.name]
            yield parameter.replace(
                annotation=NDArray if always else NDArray | None,
                default=Parameter.empty if always else None,
            )
        else:
            yield parameter


def documentation(record: type[Operator]) -> str:
    """Return what ``help`` shows."""
    return functions.documentation(record, makes_variables=False)
