"""Meaning of a constant's name in an ONNX file: parameter, buffer, or made by an exporter."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum


class NameKind(Enum):
    """Meaning of a name."""

    PARAMETER = "named like a parameter"
    BUFFER = "named like a buffer"
    LITERAL = "by its name a number of the program"
    COMPUTED = "by its name a result that the exporter computed"
    OTHER = "its name does not tell"


_PARAMETER_WORDS = frozenset(
    """
    weight weights bias biases kernel kernels gamma beta scale scales alpha slope
    embed embedding embeddings emb table token tokens coef coefficient intercept
    lora original parameter param readvariableop temperature temp tau logit shift
    cls codebook latent latents prompt prototypes queries query
    w b g k r
    """.split()
)
_BUFFER_WORDS = frozenset(
    """
    alibi anchors arange buffer c0 constant cos cosine eps epsilon fbank filterbank freq freqs
    grid h0 mask masks mean ones pe position positions positional rope rotary running sin sine
    sinusoid std stddev var variance window zeros
    """.split()
)
_NUMBER_WORDS = frozenset(
    """
    c coeff const constant denominator divisor eight epsilon eps exponent factor five floor four
    half hi high inf infinity large limit lo low lower max maximum min minimum minus neg negative
    nine num one p pi power ratio root scale seven six small sqrt ten third three threshold tiny
    two upper value zero
    """.split()
)
_BUFFER_NAMES = re.compile(r"(class|pos|loss)_?weights?$", re.IGNORECASE)
_FRAMEWORK_RESULTS = (
    "add addmm alias arange baddbmm bmm cat clone concat contiguous conv1d conv2d conv3d copy cos "
    "cumsum detach div einsum embedding empty exp expand eye fill flatten flip full gather "
    "group_norm index layer_norm lift lift_fresh lift_fresh_copy linear linspace masked_fill "
    "matmul mm mul neg new_full new_ones new_zeros ones outer permute pow rand randn reciprocal "
    "repeat reshape rms_norm roll rsqrt scalar_tensor select sin slice softmax split sqrt squeeze "
    "stack sub sum to to_copy transpose tril triu unsqueeze view where zeros"
)
_LITERAL = re.compile(
    r"""
    (.*/)?Constant(_\d+)?(_output_\d+)?(:\d+)?       # /layer/Constant_1_output_0
    | _?(lifted_tensor|tensor_constant|const|constant)_?\d*
    """,
    re.VERBOSE,
)
_COMPUTED = re.compile(
    r"""
    \d+                                              # torch, before names had scopes
    | .*::\w*_\d+                                    # onnx::MatMul_23
    | _?(val|value|tensor|tmp|initializer|node)_?\d+
    | .*const_fold_opt.* | .*__\d+(:\d+)?            # tf2onnx
    | _?(RESULTS)(_like)?(_default)?(_\d+)?          # results of operators, as torch.fx calls them
    """.replace("RESULTS", "|".join(_FRAMEWORK_RESULTS.split())),
    re.VERBOSE,
)


def name_kind(name: str) -> NameKind:
    """Return what a name says, by its last component (``layers.0.norm.weight``: "weight")."""
    if _LITERAL.fullmatch(name):
        return NameKind.LITERAL
    if _COMPUTED.fullmatch(name):
        return NameKind.COMPUTED
    if _BUFFER_NAMES.search(name):
        return NameKind.BUFFER
    parts = [p for p in re.split(r"[./:]+", name) if p and not p.isdigit()]
    for word in reversed(re.split(r"[_\-]+", parts[-1].lower()) if parts else []):
        for form in (word, word.rstrip("0123456789")):
            if form in _BUFFER_WORDS:
                return NameKind.BUFFER
            if form in _PARAMETER_WORDS:
                return NameKind.PARAMETER
    return NameKind.OTHER


def is_generated(name: str) -> bool:
    """Return whether an exporter chose the name, so that it may mean something else elsewhere."""
    return name_kind(name) in (NameKind.LITERAL, NameKind.COMPUTED)


def is_program_tensor(name: str) -> bool:
    """Return whether torch gave the name to a tensor that ``forward`` itself creates."""
    return re.fullmatch(r"_?(lifted_tensor|tensor_constant)_?\d*", name) is not None


def is_folded(name: str) -> bool:
    """Return whether torch's former exporter computed a weight or bias of a convolution.

    Weights of convolutions keep their names, unless a BatchNorm was folded into them.
    """
    return re.fullmatch(r"onnx::Conv(Transpose)?_\d+", name) is not None


def is_of_several_layers(name: str, nodes: Iterable[str]) -> bool:
    """Return whether a constant and the nodes that read it lie in layers with other numbers.

    torch's former exporter calls nodes by their modules (``/blocks.1/norm/Add``); a second call of
    one module is ``/blocks.1_1/norm/Add``.
    """
    numbers: dict[tuple[str, int], str] = {}
    for path in (f"/{name}/" if has_path(name) else "", *nodes):
        for layer, number in re.findall(r"(?<=[/.])([A-Za-z]\w*)((?:\.\d+)+)(?=_\d+/|/|\.)", path):
            if numbers.setdefault((layer, number.count(".")), number) != number:
                return True
    return False


def is_number_word(name: str) -> bool:
    """Return whether a name without a path is what programs call a number: ``half``, ``eps``."""
    words = re.split(r"[_\-]+", name.lower())
    return all(word.rstrip("0123456789") in _NUMBER_WORDS or word.isdigit() for word in words)


def has_path(name: str) -> bool:
    """Return whether the name is a path in a tree of modules, as ``encoder.h0``."""
    return re.search(r"\w\.\w", name) is not None
