"""Models as the sessions of a bundle take them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import onnx

from symbucket.export.spec import NetworkSpec
from symbucket.export.verify import Opened, OpenedModel, with_inputs
from symbucket.runtime import NDArray
from symbucket.runtime.hidden_nan import inputs_hiding_nan
from symbucket.serve.lookup_products import with_lookup_products
from symbucket.types import Array


@dataclass(frozen=True)
class Model:
    """A model to serve. ``constants`` are those of the parameters that are not its inputs.

    ``need`` are the bytes of activations that a run takes at a time.
    """

    content: bytes
    constants: tuple[str, ...]
    need: int


@dataclass(frozen=True)
class LookupForm:
    """The form of a model that looks up products, for runs of ``rows`` samples and more.

    ``tables`` are inputs.
    """

    model: Model
    tables: Mapping[str, NDArray]
    rows: int


class Models(Protocol):
    """Where an engine has its models from."""

    def of(self, network: NetworkSpec) -> Model:
        """Return the model of a network; networks of one file have one."""

    def lookup_form(self, network: NetworkSpec) -> LookupForm | None:
        """Return the form of a network's model that looks up products, if it is faster."""

    def hiding_nan(self, network: NetworkSpec) -> frozenset[str]:
        """Return the inputs from whose NaN the runtime would compute numbers."""


@dataclass(frozen=True)
class LiveModels:
    """The models of a module in training, by key."""

    models: Mapping[Hashable, Model]

    def of(self, network: NetworkSpec) -> Model:
        """Return the model of a network."""
        return self.models[network.key]

    def lookup_form(self, network: NetworkSpec) -> None:
        """Return None: what could be computed beforehand changes with the next update."""

    def hiding_nan(self, network: NetworkSpec) -> frozenset[str]:
        """Return the inputs from whose NaN the runtime would compute numbers."""
        model = onnx.ModelProto.FromString(self.models[network.key].content)
        return inputs_hiding_nan(model.graph)


class BundleModels:
    """The models of a bundle that was opened.

    Args:
        opened: the bundle.
        constants: whether parameters are constants, apart from tables that are only looked up.
            Such a table is shared between sessions as an input; nothing could be folded into it.
        table_bytes: the most bytes that a model's tables of products may take.
    """

    def __init__(self, opened: Opened, constants: bool, table_bytes: int) -> None:
        self._opened, self._constants, self._table_bytes = opened, constants, table_bytes
        self._tables: list[NDArray] = []

    def of(self, network: NetworkSpec) -> Model:
        """Return the model of a network."""
        return self._ready(self._opened.models[network.file])

    def lookup_form(self, network: NetworkSpec) -> LookupForm | None:
        """Return the form of a network's model that looks up products, if it is faster."""
        if not self._constants or not self._table_bytes:
            return None
        model, samples = self._opened.models[network.file], network.batch or 1
        arrays, prefix = self._opened.arrays, f"{network.file}/"
        form = with_lookup_products(model.proto, arrays, samples, self._table_bytes, prefix)
        if form is None:
            return None
        tables = {name: self._shared(table) for name, table in form.tables.items()}
        return LookupForm(self._ready(replace(model, proto=form.proto)), tables, form.rows)

    def hiding_nan(self, network: NetworkSpec) -> frozenset[str]:
        """Return the inputs from whose NaN the runtime would compute numbers."""
        return inputs_hiding_nan(self._opened.models[network.file].proto.graph)

    def _shared(self, table: Array) -> NDArray:
        """Return a table that is there already, if another model looks up the same products."""
        for other in self._tables:
            if np.array_equal(other.view(), table):
                return other
        self._tables.append(NDArray.over(table))
        return self._tables[-1]

    def _ready(self, model: OpenedModel) -> Model:
        graph = model.proto.graph
        stored = {t.name: t for t in self._opened.manifest.parameters.tensors}
        initializers = {tensor.name for tensor in graph.initializer}
        parameters = [name for name in model.parameters if name in initializers]
        chosen = [name for name in parameters if self._constants and not _is_table(graph, name)]
        inputs = {name: stored[name] for name in parameters if name not in chosen}
        content = with_inputs(model.proto, inputs).SerializeToString()
        return Model(content, tuple(chosen), model.need)


def _is_table(graph: onnx.GraphProto, name: str) -> bool:
    uses = [
        (node.op_type, slot)
        for node in graph.node
        for slot, source in enumerate(node.input)
        if source == name
    ]
    return all(use == ("Gather", 0) for use in uses)
