"""The ways from a module of PyTorch to a symbol: ``from_torch``, and files of both exporters."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import onnx
import torch

import symbucket as sb
from symbucket.errors import InvalidArgumentError
from tests.pytorch.networks import Network
from tests.pytorch.trainer import head
from tests.pytorch.training import examples


class NotExportedError(Exception):
    """PyTorch itself cannot write the file."""


@dataclass(frozen=True)
class Route:
    """One way; ``read`` makes a sym_gen of a network and its module."""

    name: str
    read: Callable[[Network, Any, Route], Any]
    dynamic: bool
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name, and whether sizes are open."""
        return f"{self.name}, {'dynamic' if self.dynamic else 'fixed'}"


class Files:
    """A sym_gen of files: one for each key, or one with dynamic axes for both."""

    def __init__(self, network: Network, module: Any, route: Route) -> None:
        self._models: dict[Any, onnx.ModelProto] = {}
        self._network, self._module, self._route = network, module, route
        self._fixed = [name for name, p in module.named_parameters() if not p.requires_grad]
        self.told: dict[str, None] = {}
        self.model(network.keys[0])

    def __call__(self, key):
        """The network of a file; what a file cannot say is told, as ``told`` lists."""
        model = self.model(key)
        in_file = {tensor.name for tensor in model.graph.initializer}
        options = {}
        if fixed := [name for name in self._fixed if name in in_file]:
            options["fixed"] = fixed
        try:
            symbol = sb.sym.from_onnx(model, name="net", **options)
        except InvalidArgumentError as error:
            if "padding=" not in str(error):
                raise
            options["padding"] = {
                f"{path}.weight": part.padding_idx
                for path, part in self._module.named_modules()
                if isinstance(part, torch.nn.Embedding) and part.padding_idx is not None
            }
            symbol = sb.sym.from_onnx(model, name="net", **options)
        self.told |= dict.fromkeys(options)
        data = [value.name for value in model.graph.input if value.name not in in_file]
        return head(symbol), data, ["softmax_label"]

    def model(self, key) -> onnx.ModelProto:
        """The file for a key."""
        written_for = self._network.keys[0] if self._route.dynamic else key
        if written_for not in self._models:
            inputs = tuple(map(torch.from_numpy, examples(self._network)(written_for)))
            axes = open_axes(self._network) if self._route.dynamic else None
            options = self._route.options
            self._models[written_for] = write(self._module, inputs, axes, options)
        return self._models[written_for]


def write(
    module: Any, inputs: tuple[Any, ...], axes: list[list[int]] | None, options: dict[str, Any]
) -> onnx.ModelProto:
    """A file of a module, by ``torch.onnx.export``; ``axes`` are those of open size, by input.

    Tracing changes the module itself (statistics of BatchNorm), as the file has them.
    """
    options = dict(options)
    dynamo = options["dynamo"]
    file = io.BytesIO()
    if axes and dynamo:
        auto = torch.export.Dim.AUTO
        options["dynamic_shapes"] = tuple(dict.fromkeys(sizes, auto) for sizes in axes)
    elif axes:
        options["input_names"] = [f"input{i}" for i in range(len(axes))]
        options["dynamic_axes"] = dict(
            zip(options["input_names"], ({a: f"size{a}" for a in sizes} for sizes in axes))
        )
    module.train(dynamo or "training" in options)
    try:
        with warnings.catch_warnings(), Silence(), redirect_stdout(None):
            warnings.simplefilter("ignore")
            if dynamo:
                return torch.onnx.export(module, inputs, verbose=False, **options).model_proto
            torch.onnx.export(module, inputs, file, **options)
    except Exception as error:  # of any kind: torch's own, sympy's, onnxscript's
        cause = error.__cause__ or error
        text = " ".join(str(cause).split())[:160]
        raise NotExportedError(f"{type(cause).__name__}: {text}") from error
    finally:
        module.train()
    return onnx.load_from_string(file.getvalue())


class Silence:
    """Switch off loggers of PyTorch."""

    def __enter__(self):
        self._level = logging.getLogger("torch").level
        logging.getLogger("torch").setLevel(logging.CRITICAL)

    def __exit__(self, *_):
        logging.getLogger("torch").setLevel(self._level)


def open_axes(network: Network) -> list[list[int]]:
    """The axes of each input whose size is not the same for all keys and batches."""
    first, second = (examples(network)(key) for key in network.keys)
    return [
        [i for i, (m, n) in enumerate(zip(a.shape, b.shape)) if i == 0 or m != n]
        for a, b in zip(first, second)
    ]


def read_module(network: Network, module: Any, route: Route) -> Any:
    """A sym_gen of ``from_torch``."""
    return sb.sym.from_torch(module, examples(network), head=head, dynamic=route.dynamic)


TRAINING = {
    "dynamo": False,
    "training": torch.onnx.TrainingMode.TRAINING,
    "do_constant_folding": False,
}

ROUTES = [
    Route(name, read, dynamic, options)
    for name, read, options in (
        ("from_torch", read_module, {}),
        ("legacy", Files, {"dynamo": False}),
        ("legacy, training", Files, TRAINING),
        ("dynamo", Files, {"dynamo": True}),
        ("dynamo, optimize=False", Files, {"dynamo": True, "optimize": False}),
    )
    for dynamic in (False, True)
]
