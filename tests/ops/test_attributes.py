"""Attributes and inputs of operators: parsing, defaults, and errors that say what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import symbucket as sb
from symbucket import ops
from symbucket.errors import DataError, InvalidArgumentError, ShapeError
from symbucket.ops.attributes import describe, parse, render
from tests.ops.op_cases import BY_ID

x = sb.sym.Variable("x")
y = sb.sym.Variable("y")
RECORDS = sorted({ops.find(name).op_name for name in ops.names()})


# Missing, unknown, wrong -------------------------------------------------------------------------


# Custom takes any attributes, and hands them to Python: tests/engine/test_custom_operators.py.
DECLARED = [name for name in RECORDS if name != "Custom"]


@pytest.mark.parametrize("name", [n for n in DECLARED if ops.find(n).required()])
def test_a_missing_attribute_is_named(name: str) -> None:
    record = ops.find(name)
    missing = record.required()[0]
    expected = describe(record.fields()[missing])
    with pytest.raises(InvalidArgumentError) as caught:
        record.make({})
    assert str(caught.value) == (
        f"{name}: attribute {missing!r} is missing; it must be {expected}."
    )


@pytest.mark.parametrize("name", DECLARED)
def test_an_unknown_attribute_is_named_with_those_that_exist(name: str) -> None:
    record = ops.find(name)
    with pytest.raises(InvalidArgumentError) as caught:
        record.make({"zzzz": 1})
    listed = ", ".join(record.fields()) or "none"
    assert str(caught.value) == f"{name}: unknown attribute 'zzzz'. It has: {listed}."


def test_a_misspelt_attribute_gets_a_suggestion() -> None:
    with pytest.raises(InvalidArgumentError, match=r"Did you mean 'num_hidden'\?"):
        sb.sym.FullyConnected(x, num_hiden=3)


def test_a_misspelt_operator_gets_a_suggestion() -> None:
    with pytest.raises(AttributeError, match=r"There is no operator 'FullyConected'.*'FullyConn"):
        sb.sym.FullyConected(x)


@pytest.mark.parametrize(
    ("op", "attrs", "message"),
    [
        ("FullyConnected", {"num_hidden": "ten"}, "num_hidden='ten' is not an integer"),
        ("FullyConnected", {"num_hidden": 2.5}, "num_hidden=2.5 is not an integer"),
        ("FullyConnected", {"num_hidden": 0}, "num_hidden=0 must be positive"),
        ("FullyConnected", {"num_hidden": 2, "no_bias": "maybe"}, "is not True or False"),
        ("Activation", {"act_type": "swish"}, "act_type='swish' is not one of 'relu', 'sigmoid'"),
        ("Embedding", {"input_dim": 3, "output_dim": -1}, "output_dim=-1 must be positive"),
        ("Dropout", {"p": 1.5}, "p=1.5 must be from 0 up to below 1"),
        ("Dropout", {"mode": "test"}, "mode='test' is not one of 'training', 'always'"),
        ("clip", {"a_min": "low", "a_max": 1}, "a_min='low' is not a number"),
        ("transpose", {"axes": "(0, a)"}, "is not a tuple of an integer or None"),
        ("transpose", {"axes": "__import__('os')"}, "is not a tuple of an integer or None"),
        ("sum", {"axis": 1.5}, "axis=1.5 is not an integer or a tuple of an integer or None"),
        ("Cast", {"dtype": "float33"}, "dtype='float33' is not a numpy dtype"),
        ("norm", {"ord": 3}, "ord=3 must be 1 or 2"),
        ("softmax", {"temperature": 0.0}, "temperature=0.0 must be positive"),
        ("Reshape", {"shape": ()}, "shape is missing"),
        ("Reshape", {"target_shape": (0, 0)}, "one may be 0"),
        ("topk", {"ret_typ": "values"}, "one of 'indices'"),
        ("UpSampling", {"scale": 2, "sample_type": "bilinear"}, "needs num_filter"),
        ("LRN", {"nsize": 4}, "nsize=4 must be odd"),
        ("_split_v2", {"indices": (3, 1)}, "must be ascending"),
        ("_histogram", {"bin_cnt": 3}, r"range=None must be \(low, high\)"),
        ("Crop", {}, r"h_w=\(0, 0\) must be positive"),
        ("Reshape", {"shape": (2, -7)}, r"shape \(2, -7\) has unknown codes \[-7\]"),
        ("Reshape", {"shape": (-1, -1)}, "has 2 codes -1; one size can be left over"),
        ("Reshape", {"shape": (-4, 2)}, "-4 must be followed by two sizes"),
        ("Reshape", {"shape": (-4, -1, -1)}, "-4 must be followed by two sizes"),
        ("slice", {"begin": (0,), "end": (1, 2)}, "begin and end must be equally long"),
        ("SliceChannel", {"num_outputs": 0}, "num_outputs=0 must be positive"),
        ("broadcast_axis", {"axis": (0, 1), "size": 2}, "must be equally long"),
        ("tile", {"reps": (2, 0)}, r"reps=\(2, 0\) must be positive"),
        ("repeat", {"repeats": 0}, "repeats=0 must be positive"),
        ("one_hot", {"depth": 0}, "depth=0 must be positive"),
        ("Pad", {"mode": "constant", "pad_width": (1,)}, "must be pairs of numbers >= 0"),
        ("Pad", {"mode": "wrap", "pad_width": (1, 1)}, "mode='wrap' is not one of 'constant'"),
        ("take", {"mode": "crash"}, "mode='crash' is not one of 'clip', 'wrap', 'raise'"),
        ("SequenceMask", {"axis": 2}, "axis=2 must be 0 or 1"),
        ("SequenceReverse", {"axis": 1}, "axis=1 must be 0"),
        ("L2Normalization", {"mode": "all"}, "mode='all' is not one of 'instance'"),
        ("random_normal", {"scale": -1.0}, "scale=-1.0 must not be negative"),
        ("arange", {"start": 3, "stop": 1}, "leave no numbers"),
        ("arange", {"start": 3, "step": 0}, "step must not be 0"),
    ],
)
def test_a_wrong_attribute_is_named_with_what_it_must_be(
    op: str, attrs: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        ops.find(op).make(attrs)
    assert str(caught.value).startswith(ops.find(op).op_name + ": ")


# Inputs ------------------------------------------------------------------------------------------


def test_an_unknown_input_is_named_with_those_that_exist() -> None:
    with pytest.raises(
        InvalidArgumentError, match="FullyConnected 'fc': no input 'wight'; it has "
    ):
        sb.sym.FullyConnected(x, wight=y, num_hidden=2, name="fc")


def test_too_many_inputs() -> None:
    with pytest.raises(InvalidArgumentError, match="exp 'e': 2 inputs were given, it takes data"):
        sb.sym.exp(x, y, name="e")


def test_an_input_given_twice() -> None:
    with pytest.raises(InvalidArgumentError, match="input 'data' is given twice"):
        sb.sym.exp(x, data=y)


def test_an_input_of_several_outputs() -> None:
    parts = sb.sym.SliceChannel(x, num_outputs=2)
    with pytest.raises(InvalidArgumentError, match=r"has 2 outputs; choose one with \[i\]"):
        sb.sym.exp(parts)
    assert sb.sym.exp(parts[1]).infer_shape(x=(3, 4))[1] == [(3, 2)]


def test_optional_inputs_follow_the_attributes() -> None:
    assert sb.sym.FullyConnected(x, num_hidden=2, no_bias=True, name="fc").list_arguments() == [
        "x",
        "fc_weight",
    ]
    masked = sb.sym.SequenceMask(x, use_sequence_length=True, name="m")
    assert masked.list_arguments() == ["x", "m_sequence_length"]
    assert sb.sym.SequenceMask(x, name="m").list_arguments() == ["x"]
    assert sb.sym.softmax(x, use_length=True, name="s").list_arguments() == ["x", "s_length"]


def test_positional_attributes_as_in_generated_functions() -> None:
    assert sb.sym.arange(2, 8, 3).eval(sb.cpu())[0].asnumpy().tolist() == [2.0, 5.0]
    assert sb.sym.zeros((2, 3)).infer_shape()[1] == [(2, 3)]


# Parsing from the strings of a symbol file ------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "strings", "values"),
    [
        (
            "FullyConnected",
            {"num_hidden": "10", "no_bias": "True"},
            {"num_hidden": 10, "no_bias": True},
        ),
        ("FullyConnected", {"num_hidden": "10", "no_bias": "0"}, {"no_bias": False}),
        ("transpose", {"axes": "(1, 0, 2)"}, {"axes": (1, 0, 2)}),
        ("transpose", {"axes": "[1, 0]"}, {"axes": (1, 0)}),
        ("transpose", {"axes": "()"}, {"axes": ()}),
        (
            "slice",
            {"begin": "(None, 0)", "end": "(2, None)"},
            {"begin": (None, 0), "end": (2, None)},
        ),
        ("slice_axis", {"axis": "-1", "begin": "2", "end": "None"}, {"axis": -1, "end": None}),
        ("sum", {"axis": "1"}, {"axis": 1}),
        ("sum", {"axis": "(0, 2)"}, {"axis": (0, 2)}),
        ("sum", {"axis": "None"}, {"axis": None}),
        ("Reshape", {"shape": "(-1, 4)"}, {"shape": (-1, 4)}),
        ("tile", {"reps": "3"}, {"reps": (3,)}),
        ("softmax", {"temperature": "0.5", "axis": "-1"}, {"temperature": 0.5}),
        ("softmax", {"temperature": "None"}, {"temperature": None}),
        ("Cast", {"dtype": "int32"}, {"dtype": "int32"}),
        ("Cast", {"dtype": np.float64}, {"dtype": "float64"}),
        ("Cast", {"dtype": np.dtype("int64")}, {"dtype": "int64"}),
        ("clip", {"a_min": "-1e-3", "a_max": "2"}, {"a_min": -1e-3, "a_max": 2.0}),
        ("pick", {"axis": "None"}, {"axis": None}),
    ],
)
def test_strings_become_values(op: str, strings: dict[str, Any], values: dict[str, Any]) -> None:
    made = ops.find(op).make(strings)
    for name, value in values.items():
        found = getattr(made, name)
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize("name", BY_ID)
def test_attributes_survive_being_written_as_strings(name: str) -> None:
    case = BY_ID[name]
    record = ops.find(case.op)
    count = {"num_args": len(case.inputs)} if record.variadic else {}
    made = record.make({**count, **case.attrs})
    again = record.make({k: render(v) for k, v in made.attributes().items()})
    assert again == made


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "an integer"),
        (float, "a number"),
        (bool, "True or False"),
        (str, "a string"),
        (int | None, "an integer or None"),
        (tuple[int, ...], "a tuple of an integer"),
    ],
)
def test_types_in_words(annotation: Any, words: str) -> None:
    assert describe(annotation) == words
    with pytest.raises(InvalidArgumentError, match=f"op: attribute a=.* is not {words}"):
        parse("op", "a", annotation, object())


# Shapes that do not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "attrs", "shapes", "message"),
    [
        ("elemwise_add", {}, [(2, 3), (3, 2)], r"shapes \(2, 3\) and \(3, 2\) differ"),
        ("elemwise_add", {}, [(2, 3), (2,)], "have different ranks"),
        ("broadcast_add", {}, [(2, 3), (4, 3)], "do not broadcast"),
        ("dot", {}, [(2, 3), (4, 2)], "summed over axes of size 3 and 4"),
        ("batch_dot", {}, [(2, 3), (2, 3)], "lhs must have three or more axes"),
        ("batch_dot", {}, [(2, 2, 3), (3, 3, 2)], "differ"),
        ("sum", {"axis": 3}, [(2, 3)], "axis 3 does not exist in 2 dimensions"),
        ("sum", {"axis": (1, -1)}, [(2, 3)], "names one of 2 axes twice"),
        ("flip", {"axis": (0, -2)}, [(2, 3)], "names one of 2 axes twice"),
        ("Dropout", {"axes": (2,)}, [(2, 3)], "axis 2 does not exist in 2 dimensions"),
        ("L2Normalization", {"mode": "spatial"}, [(2, 3)], "needs 3 or more axes"),
        ("Reshape", {"shape": (4, 2)}, [(2, 3)], r"cannot reshape \(2, 3\) \(6 elements\)"),
        ("Reshape", {"shape": (-1, 4)}, [(2, 3)], "cannot reshape"),
        ("Reshape", {"shape": (0, 0, 0)}, [(2, 3)], "use more dimensions than"),
        ("Reshape", {"shape": (-4, 2, -1, 0)}, [(3, 3)], "-4 cannot split 3 into 2 x 1"),
        ("squeeze", {"axis": 0}, [(2, 3)], "is not of size 1"),
        ("transpose", {"axes": (0, 0)}, [(2, 3)], "is not a permutation of 2 axes"),
        ("Concat", {"dim": 0}, [(2, 3), (2, 4)], "differ"),
        ("SliceChannel", {"num_outputs": 2}, [(2, 3)], "cannot be cut into 2 parts"),
        ("SliceChannel", {"num_outputs": 2, "squeeze_axis": True}, [(2, 4)], "parts of size 1"),
        ("slice_axis", {"axis": 0, "begin": 5}, [(2, 3)], "is empty"),
        ("slice", {"begin": (0, 0, 0), "end": (1, 1, 1)}, [(2, 3)], "more entries than"),
        ("broadcast_to", {"shape": (2, 4)}, [(2, 3)], "does not broadcast to"),
        ("broadcast_to", {"shape": (2,)}, [(2, 3)], "different ranks"),
        ("broadcast_axis", {"axis": 0, "size": 4}, [(2, 3)], "is not of size 1"),
        ("broadcast_like", {}, [(2, 3), (2, 4)], "does not broadcast to rhs"),
        ("broadcast_like", {}, [(2, 3), (2,)], "give lhs_axes, rhs_axes"),
        ("slice_like", {}, [(2, 3), (2, 4)], "is larger than data"),
        ("slice_like", {}, [(2, 3), (2,)], "give axes"),
        ("Pad", {"mode": "edge", "pad_width": (1, 1)}, [(2, 3)], "does not fit 2 axes"),
        ("Pad", {"mode": "reflect", "pad_width": (0, 0, 3, 0)}, [(2, 3)], "is too short for"),
        ("pick", {}, [(2, 3), (4,)], "differ"),
        ("batch_take", {}, [(2, 3, 4), (2,)], "a must have two axes"),
        ("where", {}, [(3,), (2, 3), (2, 3)], "differ"),
        ("gather_nd", {}, [(2, 3), (3, 4)], "at most 2 rows"),
        ("scatter_nd", {"shape": (2, 3)}, [(4,), (3, 4)], "at most 2 rows"),
        ("SequenceMask", {}, [(4,)], "two or more axes"),
        (
            "SequenceLast",
            {"use_sequence_length": True},
            [(4, 2), (4,)],
            r"shapes \(4,\) and \(2,\) differ",
        ),
        ("softmax_cross_entropy", {}, [(2, 3, 4), (2,)], "data must have two axes"),
        ("softmax_cross_entropy", {}, [(2, 3), (3,)], "differ"),
        ("SoftmaxActivation", {}, [(4,)], "two or more axes"),
        ("topk", {"k": 5}, [(2, 4)], "k=5 is more than the 4 elements"),
        ("depth_to_space", {"block_size": 2}, [(1, 6, 2, 2)], "6 channels cannot be divided"),
        ("diag", {"k": 4}, [(3, 3)], "no diagonal k=4"),
        ("_split_v2", {"indices": (2, 4)}, [(1, 4)], "a part would be empty"),
        ("LRN", {"nsize": 3}, [(4,)], "data must be"),
        ("softmax", {"axis": 2}, [(2, 3)], "axis 2 does not exist in 2 dimensions"),
    ],
)
def test_shapes_that_do_not_fit_are_named_with_the_node(
    op: str, attrs: dict[str, Any], shapes: list[tuple[int, ...]], message: str
) -> None:
    names = [f"in{i}" for i in range(len(shapes))]
    symbol = getattr(sb.sym, op)(*map(sb.sym.Variable, names), name="here", **attrs)
    with pytest.raises(ShapeError, match=message) as caught:
        symbol.simple_bind(sb.cpu(), **dict(zip(names, shapes))).forward()
    assert "'here'" in str(caught.value)


# Positions that are refused on the host -----------------------------------------------------------


def test_a_label_outside_the_classes_is_refused() -> None:
    bound = sb.sym.softmax_cross_entropy(x, y).simple_bind(sb.cpu(), x=(2, 3))
    bound.forward(y=[0, 2])
    with pytest.raises(
        DataError, match=r"y\[1\] is 3, but .* reads it as one of 3 classes: 0 to 2"
    ):
        bound.forward(y=[0, 3])
    with pytest.raises(DataError, match=r"y\[0\] is -1"):
        bound.forward(y=[-1, 0])


def test_take_refuses_only_in_mode_raise() -> None:
    data = np.arange(4, dtype=np.float32)
    for mode, expected in (("clip", [0.0, 3.0]), ("wrap", [3.0, 1.0])):
        bound = sb.sym.take(x, y, mode=mode).simple_bind(sb.cpu(), x=(4,), y=(2,))
        assert bound.forward(x=data, y=[-1, 5])[0].asnumpy().tolist() == expected
    bound = sb.sym.take(x, y, mode="raise").simple_bind(sb.cpu(), x=(4,), y=(2,))
    assert bound.forward(x=data, y=[3, 0])[0].asnumpy().tolist() == [3.0, 0.0]
    for bad in ([4, 0], [-1, 0]):
        with pytest.raises(DataError, match=r"reads it as one of 4 positions: 0 to 3"):
            bound.forward(x=data, y=bad)


@pytest.mark.parametrize("op", ["SequenceMask", "SequenceLast", "SequenceReverse"])
def test_a_sequence_longer_than_the_data_is_refused(op: str) -> None:
    symbol = getattr(sb.sym, op)(x, y, use_sequence_length=True)
    bound = symbol.simple_bind(sb.cpu(), x=(3, 2))
    bound.forward(y=[3, 0])
    with pytest.raises(DataError, match="sequence lengths: 0 to 3"):
        bound.forward(y=[4, 0])


@pytest.mark.parametrize(
    "moved",
    [
        sb.sym.Reshape(y, shape=(-1,)),
        sb.sym.reverse(sb.sym.Reshape(y, shape=(-1,)), axis=0),
        sb.sym.Flatten(sb.sym.transpose(sb.sym.expand_dims(y, axis=0))).reshape((-1,)),
        sb.sym.Cast(sb.sym.Reshape(y, shape=(-1,)), dtype="int32"),
        sb.sym.slice_axis(
            sb.sym.tile(sb.sym.Reshape(y, shape=(-1,)), reps=2), axis=0, begin=0, end=4
        ),
        sb.sym.reshape_like(y, sb.sym.Variable("z", shape=(4,))),
    ],
)
def test_labels_are_checked_through_operators_that_only_move(moved: sb.Symbol) -> None:
    bound = sb.sym.softmax_cross_entropy(x, moved).simple_bind(sb.cpu(), x=(4, 3), y=(2, 2))
    bound.forward(y=[[0, 1], [2, 0]])
    if "z" in bound.arg_dict:
        bound.forward(z=[9, 9, 9, 9])  # only its shape is read
    else:
        with pytest.raises(DataError, match="reads it as one of 3 classes"):
            bound.forward(y=[[0, 1], [3, 0]])


def test_labels_are_not_checked_through_arithmetic() -> None:
    bound = sb.sym.softmax_cross_entropy(x, y - 1).simple_bind(sb.cpu(), x=(2, 3), y=(2,))
    assert np.isfinite(bound.forward(y=[1, 3])[0].asnumpy()).all()
