"""The rule that tells which constants of an ONNX file are parameters.

ONNX does not tell parameters from other constants: a mask and a weight are both initializers. The
rule looks at how the graph uses a constant, at its name and at its values, in this order:

1. A constant on which no output depends is left out. Mean and variance of BatchNormalization are
   auxiliary states. Settings (an exponent, bounds, a quantization scale, class weights of a loss)
   are fixed.
2. Initial states of recurrent nodes are fixed if they are zero and not a module's own.
3. What a product, convolution, recurrent node, normalization or lookup takes as a weight is
   trained, whatever the exporter calls it, unless the name is that of a buffer (``mask``,
   ``inv_freq``) or of a tensor that the program creates (``lifted_tensor_0``), or it is a table of
   sines and cosines. All ones or zeros with a generated name are the scale and shift of a
   normalization that has no parameters.
4. Anything else (added, multiplied, joined with data) is fixed if it is one number with a generated
   name or a number's (``half``, ``eps``), if it is named like a buffer or a number of the program
   (``lifted_tensor_0``), or if its values are those of a mask or of a table of sines and cosines.
   It is trained if it is named like a parameter (``layer.gamma``, ``cls_token``).
5. The rule is unsure about weights in Constant nodes with generated names (of a frozen network, or
   numbers of the program), about tables with one number a row, about parameters that several nodes
   read and whose values are all equal (exporters merge equal parameters), about initial states that
   may be learned, about single numbers and operands with names that it does not know, about
   parameters that layers of several numbers read, transposed copies of parameters, and about what
   an exporter computed in advance (``onnx::Add_12``, ``embedding_1``), unless it is plainly a
   constant. What PyTorch's exporter notes on nodes adds to these, see ``torch_parameters``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import Enum
from fnmatch import fnmatchcase
from functools import cached_property
from types import MappingProxyType

import numpy as np

from symbucket.checks import listing
from symbucket.errors import InvalidArgumentError
from symbucket.symbol.onnx.names import (
    NameKind,
    has_path,
    is_folded,
    is_generated,
    is_number_word,
    is_of_several_layers,
    is_program_tensor,
    name_kind,
)
from symbucket.symbol.onnx.report import (
    MAX_LISTED_NAMES,
    ParameterDecision,
    ParameterReport,
)
from symbucket.symbol.onnx.uses import WEIGHT_ROLES, GraphUses, Role, Use
from symbucket.symbol.onnx.values import (
    LOWEST_MASKED,
    is_mask,
    is_regular,
    is_sinusoidal,
    is_uniform,
)
from symbucket.types import Array

OF_LAYERS = "one parameter of several layers, or equal ones that the exporter merged"
FOLDED = "PyTorch's exporter folded a BatchNorm or a weight normalization into it"


class Verdict(Enum):
    """Verdict on a constant."""

    TRAINED = "trained"
    STATE = "state"
    FIXED = "fixed"
    UNUSED = "unused"
    UNSURE = "unsure"


def decide(
    values: Mapping[str, Array],
    uses: GraphUses,
    trained: Iterable[str],
    fixed: Iterable[str],
    shared: Iterable[str],
    doubtful: Mapping[str, str] = MappingProxyType({}),
) -> ParameterReport:
    """Return what becomes of each float constant.

    Args:
        values: the constants by name.
        uses: how the graph uses them.
        trained, fixed: patterns of ``params=`` and ``fixed=``.
        shared: names for which the caller gives a symbol of its own.
        doubtful: what an exporter computed, perhaps from parameters, and words for it.

    Raises InvalidArgumentError if a pattern matches nothing, or if the rule is unsure about
    constants that no pattern matches.
    """
    patterns = {"params": list(trained), "fixed": list(fixed)}
    for argument, listed in patterns.items():
        _check_patterns(argument, listed, values)
    rule = _Rule(values, uses)
    decisions, unsure = [], []
    for name, value in values.items():
        verdict, reason = rule.verdict(name)
        if verdict is Verdict.TRAINED and name in doubtful:
            verdict, reason = Verdict.UNSURE, f"{reason}; {doubtful[name]}"
        overrule = None if verdict is Verdict.UNUSED else _argument_for(name, patterns)
        if overrule is not None:
            verdict, reason = rule.overruled(name, overrule), f"{overrule}= says so"
        if name in shared and verdict is not Verdict.STATE:
            verdict, reason = Verdict.TRAINED, "inputs= has a symbol for it"
        if verdict is Verdict.UNSURE:
            unsure.append(f"{name!r} {value.shape}: {reason}")
        decisions.append(
            ParameterDecision(name, value.shape, value.dtype.name, verdict.value, reason)
        )
    if unsure:
        raise InvalidArgumentError(_unsure_text(unsure))
    return ParameterReport(tuple(decisions))


def _unsure_text(unsure: list[str]) -> str:
    more = len(unsure) - MAX_LISTED_NAMES
    lines = unsure[:MAX_LISTED_NAMES] + ([f"... and {more} more"] if more > 0 else [])
    listed = "".join(f"\n  {line}" for line in lines)
    return (
        f"from_onnx: the file does not tell whether {len(unsure)} of its constants are "
        f"parameters:{listed}\n"
        "Say so with names or patterns: sym.from_onnx(model, params=[...]) trains them, "
        "fixed=[...] keeps their values; fixed='*' trains nothing. If an exporter merged or "
        "computed parameters, a better file helps: torch.onnx.export(..., dynamo=True, "
        "optimize=False)."
    )


def _check_patterns(argument: str, patterns: list[str], names: Iterable[str]) -> None:
    listed = list(names)
    absent = [p for p in patterns if p != "*" and not any(_matches(n, p) for n in listed)]
    if absent:
        raise InvalidArgumentError(
            f"from_onnx: {argument} has {', '.join(map(repr, absent))}; the file's float "
            f"initializers are {listing(listed, MAX_LISTED_NAMES) or 'none'}"
        )


def _argument_for(name: str, patterns: Mapping[str, list[str]]) -> str | None:
    """Return which argument decides about a name: that with the most specific matching pattern."""
    matches = [
        (pattern == name, len(pattern.replace("*", "")), argument)
        for argument, listed in patterns.items()
        for pattern in listed
        if _matches(name, pattern)
    ]
    if not matches:
        return None
    best = max(m[:2] for m in matches)
    arguments = {argument for *rank, argument in matches if tuple(rank) == best}
    if len(arguments) > 1:
        raise InvalidArgumentError(
            f"from_onnx: params= and fixed= both name {name!r}; leave it out of one of them"
        )
    return arguments.pop()


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


class _Rule:
    """The rule, over the constants of one graph."""

    def __init__(self, values: Mapping[str, Array], uses: GraphUses) -> None:
        self._values = values
        self._uses = {name: uses.of(name) for name in values}

    def verdict(self, name: str) -> tuple[Verdict, str]:
        """Return what becomes of a constant, and why."""
        uses = self._uses[name]
        if uses and not self._values[name].size:
            return Verdict.FIXED, "it has no elements"
        if not uses:
            return Verdict.UNUSED, "no output depends on it"
        by_role: dict[Role, list[Use]] = {}
        for use in uses:
            by_role.setdefault(use.role, []).append(use)
        if Role.RUNNING_STATISTICS in by_role:
            running = by_role[Role.RUNNING_STATISTICS]
            if self._is_merged(self._values[name], running):
                return self._merged(self._values[name], running)
            return Verdict.STATE, f"statistics of {_listed(running)}"
        if Role.STATISTICS in by_role:
            return Verdict.STATE, f"statistics of {_listed(by_role[Role.STATISTICS])}"
        weights = [use for use in uses if use.role in WEIGHT_ROLES]
        others = by_role.get(Role.OPERAND, []) + by_role.get(Role.OUTPUT, [])
        if weights:
            return self._weight(name, weights, weights + others)
        if Role.INITIAL_STATE in by_role:
            return self._initial_state(name, by_role[Role.INITIAL_STATE])
        if others:
            return self._operand(name, others)
        return Verdict.FIXED, f"a setting of {_listed(by_role[Role.SETTING])}"

    def overruled(self, name: str, argument: str) -> Verdict:
        """Return what becomes of a constant that ``params=`` or ``fixed=`` names."""
        roles = {use.role for use in self._uses[name]}
        if Role.RUNNING_STATISTICS in roles or (Role.STATISTICS in roles and argument == "params"):
            return Verdict.STATE
        return Verdict.TRAINED if argument == "params" else Verdict.FIXED

    def _weight(self, name: str, weights: list[Use], uses: list[Use]) -> tuple[Verdict, str]:
        value, kind = self._values[name], name_kind(name)
        first = weights[0]
        role = "the slope" if first.op_type == "PRelu" else first.role.value
        use = f"{role} of {_listed(weights)}"
        affine = all(use.role is Role.NORMALIZATION for use in uses)
        if kind is NameKind.BUFFER or is_program_tensor(name):
            return Verdict.FIXED, f"{kind.value}, {use}"
        if affine and is_uniform(value) and is_generated(name):
            return Verdict.FIXED, f"{use} that has no parameters: all {value.flat[0]:g}"
        if first.role is Role.LOOKUP and is_sinusoidal(value):
            return Verdict.FIXED, "a table of sines and cosines"
        if value.size == 1 and first.op_type in ("Add", "Sum"):  # a bias, or a number
            return self._number(name, use)
        if self._is_merged(value, uses):
            return self._merged(value, uses)
        if kind is NameKind.LITERAL:
            return Verdict.UNSURE, f"{use}; {kind.value}, or a weight of a frozen network"
        if is_folded(name):
            return Verdict.UNSURE, f"{use}; {FOLDED}"
        if first.role is Role.LOOKUP and value.ndim == 1 and kind is not NameKind.PARAMETER:
            return Verdict.UNSURE, f"{use} with one number a row: weights of classes, or learned"
        if original := self._copied_from(name):
            return Verdict.UNSURE, f"{use}, {original!r} transposed: one parameter, or equal ones"
        if is_of_several_layers(name, [use.node for use in uses]):
            return Verdict.UNSURE, f"{use}; {OF_LAYERS}"
        return Verdict.TRAINED, use

    def _initial_state(self, name: str, uses: list[Use]) -> tuple[Verdict, str]:
        state = f"an initial state of {_listed(uses)}"
        if np.any(self._values[name]):
            return Verdict.UNSURE, f"{state} that is not zero: learned, or the state of one batch"
        written_out = any(use.direct for use in uses)
        if has_path(name) or not (written_out or is_generated(name)):
            return Verdict.UNSURE, f"{state} with a name of its own: learned, or always zero"
        return Verdict.FIXED, f"{state}, zero"

    def _operand(self, name: str, uses: list[Use]) -> tuple[Verdict, str]:
        value, kind = self._values[name], name_kind(name)
        operand = _operand_words(uses)
        if value.size == 1:
            return self._number(name, operand)
        if kind is NameKind.BUFFER:
            return Verdict.FIXED, f"{kind.value}, {operand}"
        if is_mask(value):
            return Verdict.FIXED, "its values are those of a mask"
        if is_sinusoidal(value):
            return Verdict.FIXED, "a table of sines and cosines"
        if kind is NameKind.LITERAL or (kind is NameKind.COMPUTED and is_regular(value)):
            return Verdict.FIXED, f"{kind.value}, {operand}"
        if kind is NameKind.COMPUTED:
            return Verdict.UNSURE, f"{operand}; {kind.value}, perhaps from parameters"
        if kind is NameKind.OTHER:
            return Verdict.UNSURE, f"{operand}; {kind.value}"
        if self._is_merged(value, uses):
            return self._merged(value, uses)
        if is_of_several_layers(name, [use.node for use in uses]):
            return Verdict.UNSURE, f"{operand}; {OF_LAYERS}"
        return Verdict.TRAINED, f"{kind.value}, {operand}"

    def _number(self, name: str, use: str) -> tuple[Verdict, str]:
        """Return what becomes of a tensor of one element that may be a number of the program."""
        kind = name_kind(name)
        if not abs(float(self._values[name].flat[0])) < -LOWEST_MASKED:
            return Verdict.FIXED, "a number to hide others with"
        word = name.lower()
        if kind is NameKind.BUFFER or is_generated(name) or is_number_word(name) or word == "scale":
            return Verdict.FIXED, "a single number"
        scale = word.endswith("scale") and not word.endswith("logit_scale")
        if kind is NameKind.PARAMETER and not scale:
            return Verdict.TRAINED, f"{kind.value}, {use}"
        return Verdict.UNSURE, f"a single number, {use}: learned, or constant"

    def _is_merged(self, value: Array, uses: list[Use]) -> bool:
        """Return whether the parameter looks like several equal ones that an exporter merged.

        They look alike if the layer itself is applied several times; then its products read weights
        of their own just as often.
        """
        readers = len({use.node for use in uses})
        if readers < 2 or value.size < 2 or not is_uniform(value):
            return False
        return readers > self._most_repeated

    @cached_property
    def _most_repeated(self) -> int:
        counts = [1]
        for name, uses in self._uses.items():
            nodes = Counter(use.op_type for use in uses if use.role is Role.PRODUCT)
            if nodes and not is_uniform(self._values[name]):
                counts.append(max(nodes.values()))
        return max(counts)

    def _copied_from(self, name: str) -> str:
        """Return the parameter of which an exporter made a transposed copy, or an empty string."""
        value = self._values[name]
        if not is_generated(name) or value.ndim != 2 or is_uniform(value):
            return ""
        for other, original in self._values.items():
            if original.shape == value.shape[::-1] and not is_generated(other):
                same = bool(original[0, -1] == value[-1, 0]) and np.array_equal(original.T, value)
                if same and self._uses[other]:
                    return other
        return ""

    def _merged(self, value: Array, uses: list[Use]) -> tuple[Verdict, str]:
        return Verdict.UNSURE, (
            f"all its values are {value.flat[0]:g}, and {_listed(uses)} read it: {OF_LAYERS}"
        )


# Words ------------------------------------------------------------------------------------------


def _listed(uses: list[Use]) -> str:
    distinct = list(dict.fromkeys(str(use) for use in uses))
    if len(distinct) <= 2:
        return " and ".join(distinct)
    return f"{', '.join(distinct[:2])} and {len(distinct) - 2} more"


def _operand_words(uses: list[Use]) -> str:
    role = "an output" if all(use.role is Role.OUTPUT for use in uses) else "an operand"
    return f"{role} of {_listed(uses)}"
