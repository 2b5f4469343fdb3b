"""Read the diagrams of everything that can be drawn."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import onnx
from google.protobuf.message import DecodeError

from symbucket.compiler import (
    CompilerOptions,
    Program,
    TrainingPrograms,
    compile_inference,
    compile_training,
)
from symbucket.compiler.target import PORTABLE, SERVING
from symbucket.errors import BundleError, InvalidArgumentError
from symbucket.export.spec import MANIFEST_FILE, NetworkSpec
from symbucket.export.verify import read_manifest
from symbucket.symbol import Symbol, load
from symbucket.visualization.diagram import DATA, PARAMETER, STATE, Diagram
from symbucket.visualization.from_onnx import from_onnx, from_program
from symbucket.visualization.from_symbol import from_symbol, variable_kinds

Graph = Literal["symbol", "forward", "training"]
Shapes = Mapping[str, Sequence[int]] | Mapping[Any, Mapping[str, Sequence[int]]]
GRAPHS = ("symbol", "forward", "training")
# Shapes on all edges; the picture folds time steps itself.
_OPTIONS = CompilerOptions(value_info=True)
_BUNDLE_KINDS = {"auxiliary state": STATE}


def networks_of(
    source: Any,
    shape: Shapes | None = None,
    graph: Graph = "symbol",
    key: Hashable = None,
    unrolled: bool = False,
) -> dict[str, Diagram]:
    """Return the diagrams of a source by name.

    ``source``: a Symbol; what the compiler makes (Program, TrainingPrograms); an
    ``onnx.ModelProto``; the path of an ``.onnx`` file, of a symbol file (``.json``) or of a
    bundle's folder; or a mapping of names (bucket keys) to any of these. ``shape``: shapes of a
    symbol's data by name, for several symbols those of each by the mapping's names. ``graph``: a
    symbol as it stands, or compiled to its forward or training graph, which needs shapes. ``key``:
    only this network of a bundle or mapping. ``unrolled``: a compiled symbol has the steps of its
    recurrences in place of loops.

    Raises InvalidArgumentError for anything else, ShapeError where shapes are missing or wrong,
    BundleError for a damaged bundle.
    """
    if graph not in GRAPHS:
        raise InvalidArgumentError(f"graph={graph!r}; expected {', '.join(map(repr, GRAPHS))}")
    if isinstance(source, Mapping):
        return _several(source, shape, graph, key, unrolled)
    if isinstance(source, (str, os.PathLike)) and Path(source).is_dir():
        return _bundle(Path(source), key)
    if key is not None:
        raise InvalidArgumentError(f"key={key!r} was given, but {_named(source)} has no keys")
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.suffix == ".json":
            return networks_of(load(str(path)), shape, graph, unrolled=unrolled)
        return {path.stem: from_onnx(_read(path), title=path.stem, folder=path.parent)}
    if isinstance(source, Symbol):
        return _symbol(source, shape, graph, unrolled)
    if isinstance(source, Program):
        source = source.proto()
    if isinstance(source, onnx.ModelProto):
        return {source.graph.name or "network": from_onnx(source)}
    if isinstance(source, TrainingPrograms):
        parts = {"step": source.step, "forward": source.forward, "backward": source.backward}
        return {n: from_program(p, title=n) for n, p in parts.items() if p is not None}
    raise InvalidArgumentError(
        f"cannot draw {_named(source)}; expected a Symbol, a compiled program, an onnx.ModelProto, "
        "the path of an .onnx file, a symbol file or a bundle, or a mapping of names to these"
    )


def _named(source: Any) -> str:
    shown = repr(source) if isinstance(source, (str, os.PathLike)) else ""
    return shown or f"a {type(source).__name__}"


def _several(
    source: Mapping[Any, Any],
    shape: Shapes | None,
    graph: Graph,
    key: Hashable,
    unrolled: bool,
) -> dict[str, Diagram]:
    if key is not None:
        if key not in source:
            keys = ", ".join(map(repr, source)) or "none"
            raise InvalidArgumentError(f"there is no network of key {key!r}; the keys are {keys}")
        source = {key: source[key]}
    if not source:
        raise InvalidArgumentError("there is no network to draw: the mapping is empty")
    diagrams: dict[str, Diagram] = {}
    for name, part in source.items():
        own: Any = (shape or {}).get(name, shape if isinstance(part, Symbol) else None)
        parts = networks_of(part, own, graph, unrolled=unrolled)
        diagrams.update(
            {str(name) if len(parts) == 1 else f"{name} {n}": m for n, m in parts.items()}
        )
    return diagrams


def _symbol(symbol: Symbol, shape: Any, graph: Graph, unrolled: bool) -> dict[str, Diagram]:
    name = symbol.name or "symbol"
    if graph == "symbol":
        return {name: from_symbol(symbol, shape)}
    arguments, _, auxiliary = symbol.complete_shapes(**(shape or {}))
    names = symbol.list_arguments()
    kinds = variable_kinds(symbol.nodes(), shape or {})
    shapes = dict(zip(names, arguments)) | dict(zip(symbol.list_auxiliary_states(), auxiliary))
    target = PORTABLE if unrolled else SERVING
    if graph == "forward":
        program = compile_inference(symbol, shapes, options=_OPTIONS, target=target)
        return {name: from_program(program, kinds, f"{name} forward")}
    parameters = [n for n in names if kinds[n] == PARAMETER]
    programs = compile_training(symbol, shapes, wanted=parameters, options=_OPTIONS, target=target)
    parts = {"training": programs.step, "forward": programs.forward, "backward": programs.backward}
    return {
        f"{name} {n}": from_program(p, kinds, f"{name} {n}")
        for n, p in parts.items()
        if p is not None
    }


def _bundle(folder: Path, key: Hashable) -> dict[str, Diagram]:
    manifest = read_manifest(folder)
    chosen = [n for n in manifest.networks if key is None or n.key == key]
    if not chosen:
        keys = ", ".join(repr(n.key) for n in manifest.networks)
        raise InvalidArgumentError(
            f"the bundle {str(folder)!r} has no network of key {key!r}; its keys are {keys}"
        )
    stored = {t.name: _BUNDLE_KINDS.get(t.kind, PARAMETER) for t in manifest.parameters.tensors}
    diagrams = {str(n.key): _bundled(folder, n, stored) for n in chosen}
    measures = {
        box.name: box.measure
        for diagram in diagrams.values()
        for box in diagram.boxes
        if box.name in stored
    }
    return {name: _measured_once(diagram, measures) for name, diagram in diagrams.items()}


def _measured_once(diagram: Diagram, measures: Mapping[str, Any]) -> Diagram:
    """Return a bundle's diagram whose parameters, stored once, are measured once for all keys."""
    boxes = (replace(b, measure=measures.get(b.name, b.measure)) for b in diagram.boxes)
    return replace(diagram, boxes=tuple(boxes))


def _bundled(folder: Path, network: NetworkSpec, stored: Mapping[str, str]) -> Diagram:
    path = folder / network.file
    if not path.is_file() or path.is_symlink():
        raise BundleError(
            f"{str(folder)!r} lacks the file {network.file!r} that {MANIFEST_FILE} names"
        )
    kinds = {**dict.fromkeys((t.name for t in network.inputs), DATA), **stored}
    return from_onnx(_read(path), kinds, f"key {network.key}", folder)


def _read(path: Path) -> onnx.ModelProto:
    """Return a model without its external data, most of which a picture does not need."""
    if not path.is_file():
        raise InvalidArgumentError(f"there is no file {str(path)!r}")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise InvalidArgumentError(f"{str(path)!r} is no ONNX file: {error}") from None
    if not model.HasField("graph"):
        raise InvalidArgumentError(f"{str(path)!r} is no ONNX file: there is no graph in it")
    return model
