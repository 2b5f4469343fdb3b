"""``from_torch``: a PyTorch module as a symbol that trains as the module does."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx

from symbucket.checks import listing
from symbucket.errors import InvalidArgumentError, SymbucketError
from symbucket.pytorch.check import check as check_against
from symbucket.pytorch.examples import Call, import_torch
from symbucket.pytorch.export import drop_dropout, export
from symbucket.pytorch.state_dict import torch_state_dict
from symbucket.symbol import from_onnx
from symbucket.symbol.onnx.report import ParameterReport
from symbucket.symbol.symbol import Symbol
from symbucket.types import Array

Inputs = Sequence[Symbol] | Mapping[str, Symbol] | None


def from_torch(
    module: Any,
    example_inputs: Any,
    inputs: Inputs = None,
    *,
    head: Callable[[Symbol], Symbol] | None = None,
    name: str = "torch",
    fixed: str | Collection[str] = (),
    dynamic: bool = True,
    check: bool = True,
    tolerance: float = 1e-4,
    report: bool = False,
) -> Any:
    """Carry out ``sym.from_torch``, which see."""
    torch = import_torch()
    if not isinstance(module, torch.nn.Module):
        raise InvalidArgumentError(
            f"from_torch needs a torch.nn.Module, not {type(module).__name__}"
        )
    away = {str(t.device) for t in module.parameters() if t.device.type != "cpu"}
    if away:
        raise InvalidArgumentError(
            f"from_torch: parameters are on {listing(sorted(away))}; move the module: module.cpu()"
        )
    network = TorchNetwork(
        module,
        example_inputs if callable(example_inputs) else None,
        inputs,
        head=head,
        name=name,
        fixed=[fixed] if isinstance(fixed, str) else list(fixed),
        dynamic=dynamic,
        check=check,
        tolerance=tolerance,
    )
    if callable(example_inputs):
        if not all(isinstance(s, Symbol) and s.heads[0][0].op is None for s in _symbols(inputs)):
            raise InvalidArgumentError(
                "from_torch: inputs of a sym_gen must be Variables; for layers before the module, "
                "give it to from_torch with one example and write the sym_gen yourself"
            )
        if report:
            raise InvalidArgumentError(
                "from_torch: report=True is for one symbol; a sym_gen has the method report(key)"
            )
        return network
    if head is not None:
        raise InvalidArgumentError(
            "from_torch: head= is for a sym_gen, which example_inputs=FUNCTION makes; attach the "
            "loss to the symbol that is returned"
        )
    read = network.read(Call(example_inputs))
    return (read.symbol, read.report) if report else read.symbol


def _symbols(inputs: Inputs) -> list[Symbol]:
    return list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs or ())


class Reading:
    """One export of a module: the symbol, its data, the sizes that it takes, and the report."""

    def __init__(
        self, symbol: Symbol, report: ParameterReport, model: onnx.ModelProto, data: list[str]
    ) -> None:
        self.symbol = symbol
        self.report = report
        self.data_names = data
        self._sizes = {
            value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
            for value in model.graph.input
        }

    def admits(self, call: Call) -> bool:
        """Return whether the inputs have the sizes that the export fixed."""
        tensors = call.by_name(list(self._sizes))
        return all(
            len(sizes) == tensors[name].dim()
            and all(not a or a == b for a, b in zip(sizes, tensors[name].shape))
            for name, sizes in self._sizes.items()
        )


class TorchNetwork:
    """A module as networks by bucket key; call it as ``sym_gen(key)``.

    The module is copied when this is made, so all keys start at the same values. One export serves
    all keys whose sizes it leaves open; each key is compared with the module.
    """

    def __init__(
        self,
        module: Any,
        example_inputs: Callable[[Hashable], Any] | None,
        inputs: Inputs,
        *,
        head: Callable[[Symbol], Symbol] | None,
        name: str,
        fixed: list[str],
        dynamic: bool,
        check: bool,
        tolerance: float,
    ) -> None:
        self._module = copy.deepcopy(module)
        self._example_inputs = example_inputs
        self._inputs = inputs
        self._head = head
        self._name = name
        self._fixed = fixed
        self._dynamic = dynamic
        self._check = check
        self._tolerance = tolerance
        self._exports: list[tuple[onnx.ModelProto, Reading]] = []
        self._by_key: dict[Hashable, Reading] = {}

    def __call__(self, key: Hashable) -> tuple[Symbol, list[str], list[str]]:
        """Return the symbol of a bucket key with its loss, and names of its data and labels."""
        reading = self._reading(key)
        network = reading.symbol
        symbol = network if self._head is None else self._head(network)
        own = set(network.list_arguments())
        labels = [n for n in symbol.list_arguments() if n not in own]
        return symbol, list(reading.data_names), labels

    def symbol(self, key: Hashable) -> Symbol:
        """Return the module's outputs for a bucket key, without the loss."""
        return self._reading(key).symbol

    @property
    def exports(self) -> int:
        """How many times the module was exported for the keys so far."""
        return len(self._exports)

    def report(self, key: Hashable) -> ParameterReport:
        """Return what is trained and what is fixed for a bucket key, and why."""
        return self._reading(key).report

    def state_dict(self, trained: Any) -> dict[str, Any]:
        """Return trained parameters as the module's ``load_state_dict`` takes them.

        ``trained`` is what ``torch_state_dict`` takes.
        """
        return torch_state_dict(self._module, trained)

    def _reading(self, key: Hashable) -> Reading:
        if key not in self._by_key:
            assert self._example_inputs is not None
            self._by_key[key] = self.read(Call(self._example_inputs(key)))
        return self._by_key[key]

    def read(self, call: Call) -> Reading:
        """Return the network for inputs like these: a former one if it fits, else a new one."""
        for model, reading in self._exports:
            if reading.admits(call) and self._agrees(model, call):
                return reading
        if self._dynamic:
            try:
                return self._export(call, dynamic=True)
            except SymbucketError as error:
                # An export with fixed sizes may still be exact; if not, its error is raised.
                logging.info("from_torch: sizes are fixed, since with open sizes %s", error)
        return self._export(call, dynamic=False)

    def _agrees(self, model: onnx.ModelProto, call: Call) -> bool:
        try:
            self._compare(model, call)
        except RuntimeError as error:  # symbucket's errors, and the runtime's
            logging.info("from_torch: another export, since that of other sizes: %s", error)
            return False
        return True

    def _export(self, call: Call, *, dynamic: bool) -> Reading:
        model = export(self._module, call, dynamic=dynamic)
        self._compare(model, call)
        symbol, report = self._symbol(model, self._inputs)
        names = [value.name for value in model.graph.input]
        provided = self._inputs or {}
        symbols = provided if isinstance(provided, Mapping) else dict(zip(names, provided))
        data = [symbols[n].heads[0][0].name if n in symbols else n for n in names]
        reading = Reading(symbol, report, model, data)
        self._exports.append((model, reading))
        return reading

    def _symbol(self, model: onnx.ModelProto, inputs: Inputs) -> tuple[Symbol, ParameterReport]:
        trained = self._trained(model) or None
        return from_onnx(model, inputs, name=self._name, params=trained, fixed="*", report=True)

    def _trained(self, model: onnx.ModelProto) -> list[str]:
        """Return the names of the parameters to train."""
        own = dict(self._module.named_parameters(remove_duplicate=False))
        fixed = [p for p in self._fixed if p != "*" and not any(fnmatchcase(n, p) for n in own)]
        if fixed:
            raise InvalidArgumentError(
                f"from_torch: fixed has {listing(map(repr, fixed))}; the module's parameters are "
                f"{listing(own) or 'none'}"
            )
        fixed_tensors = {
            id(tensor)
            for name, tensor in own.items()
            if not tensor.requires_grad or any(fnmatchcase(name, p) for p in self._fixed)
        }
        in_file = {tensor.name for tensor in model.graph.initializer}
        return [n for n, t in own.items() if n in in_file and id(t) not in fixed_tensors]

    def _compare(self, model: onnx.ModelProto, call: Call) -> None:
        if not self._check:
            return
        symbol, report = self._symbol(drop_dropout(model), None)
        names = {*report.trained, *report.states}
        values: dict[str, Array] = {
            tensor.name: np.atleast_1d(onnx.numpy_helper.to_array(tensor))
            for tensor in model.graph.initializer
            if tensor.name in names
        }
        trained = [n for n in self._trained(model) if n in names]
        data = [value.name for value in model.graph.input]
        check_against(symbol, self._module, call, data, values, trained, self._tolerance)
