"""Notes of PyTorch's exporter (``dynamo=True``) on nodes: which call of PyTorch each came from.

Nodes have the metadata ``pkg.torch.onnx.fx_node``, as in ``%linear : [num_users=1] = call_function[
target=torch.ops.aten.linear.default](args = (%x, %p_out_weight, %p_out_bias), kwargs = {})``, where
``%p_out_weight`` stands for the parameter ``out.weight``.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import Any

import onnx

_CALL = "pkg.torch.onnx.fx_node"
_SCOPES = "pkg.torch.onnx.name_scopes"
_FORM = re.compile(
    r"%(?P<name>\w+) : .*?call_function\[target=(?:torch\.ops\.)?(?P<target>[\w.]+)\]"
    r"\(args = (?P<args>.*), kwargs = (?P<kwargs>\{.*\})\)\s*$",
    re.DOTALL,
)
_WORD = re.compile(r"(?<![\w.])%?[A-Za-z_][\w.]*(\([^()]*\))?")
_LITERALS = ("None", "True", "False")


@dataclass
class TorchCall:
    """A call of PyTorch, and the ONNX nodes that it became.

    ``target`` is as ``aten.linear.default``; values are strings as ``"%x"`` in ``args``, which is
    empty if the text could not be read. ``scopes`` are the modules that it lies in, outermost
    first.
    """

    name: str
    target: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: tuple[str, ...]
    """The names of parameters and buffers among the arguments, as ``p_out_weight``."""
    scopes: tuple[str, ...]
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    @property
    def scope(self) -> str:
        """The name of the module that the call lies in, or an empty string."""
        return max(self.scopes, key=len, default="")

    def written(self, op_type: str) -> list[onnx.NodeProto]:
        """Return its nodes of a type."""
        return [node for node in self.nodes if node.op_type == op_type]


def torch_calls(graph: onnx.GraphProto) -> list[TorchCall]:
    """Return the calls that are noted on nodes of a graph; none if it is not PyTorch's."""
    data = {value.name for value in graph.input} | {n for node in graph.node for n in node.output}
    calls: dict[str, TorchCall] = {}
    texts: dict[str, TorchCall | None] = {}
    for node in graph.node:
        notes = {prop.key: prop.value for prop in node.metadata_props}
        text = notes.get(_CALL, "")
        if not text:
            continue
        if text not in texts:
            call = _read(text, notes.get(_SCOPES, ""), data)
            texts[text] = call and calls.setdefault(call.name, call)
        noted = texts[text]
        if noted is not None:
            noted.nodes.append(node)
    return list(calls.values())


def _read(text: str, scopes: str, data: set[str]) -> TorchCall | None:
    form = _FORM.match(text)
    if form is None:
        return None
    names = re.findall(r"%([pbc]_\w+)", form["args"] + form["kwargs"])
    return TorchCall(
        form["name"],
        form["target"],
        _literal(form["args"]) or (),
        _literal(form["kwargs"]) or {},
        tuple(dict.fromkeys(name for name in names if name not in data)),
        tuple(s for s in (_literal(scopes) or ())[:-1] if s),  # the last one is the call's name
    )


def _literal(text: str) -> Any:
    """Return the value of a text of Python in which other words stand for themselves."""
    quoted = text
    if "'" not in text:
        quoted = _WORD.sub(lambda m: m[0] if m[0] in _LITERALS else repr(m[0]), text)
    try:
        return ast.literal_eval(quoted)
    except (ValueError, SyntaxError):
        return None


def placeholder_of(name: str) -> str:
    """Return what stands for a parameter or buffer in calls, without the prefix of its kind."""
    return re.sub(r"[^a-zA-Z0-9]", "_", name).lower()


def path_of(placeholder: str, call: TorchCall) -> str:
    """Return the name of a parameter (``out.weight``) from that in calls (``p_out_weight``).

    Both ``_`` and ``.`` are ``_`` in calls; the module that the call lies in tells them apart.
    """
    rest = placeholder[2:]
    for scope in sorted(call.scopes, key=len, reverse=True):
        start = placeholder_of(scope) + "_"
        if rest.startswith(start):
            return f"{scope}.{rest[len(start) :]}"
    return rest
