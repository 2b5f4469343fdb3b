"""Where the runtime puts the nodes of the models that it loads for CUDA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime

CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True)
class LoadedGraph:
    """A model: how many nodes of a type the device runs, and what it does not run."""

    name: str
    on_device: Counter[str]
    elsewhere: list[str]
    """Nodes of another provider, copies between memories, nodes of another domain than ONNX's."""


def _nodes(graph: onnx.GraphProto, where: str = "") -> Iterator[tuple[str, onnx.NodeProto]]:
    for node in graph.node:
        yield where, node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g, f"{where}{node.op_type}/")


class Placements:
    """The models loaded since ``watch``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.models: list[LoadedGraph] = []

    def watch(self, monkeypatch) -> None:
        placements, original = self, onnxruntime.InferenceSession

        class Watched(original):
            def __init__(self, model, options, providers, **rest) -> None:
                path = placements._folder / f"{len(placements.models)}.onnx"
                if providers[0][0] == CUDA:
                    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
                    options.optimized_model_filepath = str(path)
                super().__init__(model, options, providers=providers, **rest)
                if providers[0][0] == CUDA:
                    placements._add(self.get_provider_graph_assignment_info(), onnx.load(path))

        monkeypatch.setattr(onnxruntime, "InferenceSession", Watched)

    def _add(self, groups, model: onnx.ModelProto) -> None:
        on_device: Counter[str] = Counter()
        elsewhere = []
        for group in groups:
            types = [node.op_type for node in group.get_nodes()]
            if group.ep_name == CUDA:
                on_device.update(types)
            else:
                elsewhere += [f"{op_type} on {group.ep_name}" for op_type in types]
        for where, node in _nodes(model.graph):
            if node.op_type.startswith("Memcpy"):
                elsewhere.append(f"{where}{node.op_type} of {node.input[0]}")
            elif node.domain not in ("", "ai.onnx"):
                elsewhere.append(f"{where}{node.domain}:{node.op_type}")
        assert on_device, f"{model.graph.name}: the runtime has no record of its nodes"
        self.models.append(LoadedGraph(model.graph.name, on_device, elsewhere))

    @property
    def op_types(self) -> set[str]:
        """The types of all nodes."""
        return {op_type for model in self.models for op_type in model.on_device}

    def named(self, words: str) -> LoadedGraph:
        """The only model with these words in its name."""
        (model,) = (model for model in self.models if words in model.name)
        return model

    def check(self) -> None:
        """Raise AssertionError if a node is not on the device."""
        assert self.models, "no model was loaded for CUDA"
        elsewhere = {model.name: model.elsewhere for model in self.models if model.elsewhere}
        assert not elsewhere, elsewhere
