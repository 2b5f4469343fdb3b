"""Records behave as frozen dataclasses with keyword-only fields do."""

import copy
import dataclasses
import pickle

import pytest

from symbucket.ops import find
from symbucket.ops.fixed_attributes import FixedAttributes


@dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=True)
class Size(FixedAttributes):
    width: int
    height: int = 2
    names: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=True)
class Other(FixedAttributes):
    width: int
    height: int = 2
    names: list = dataclasses.field(default_factory=list)


def test_attributes_are_those_given_or_the_defaults():
    size = Size(width=1)
    assert (size.width, size.height, size.names) == (1, 2, [])
    assert size.names is not Size(width=1).names
    assert repr(size) == "Size(width=1, height=2, names=[])"
    assert dataclasses.replace(size, height=5) == Size(width=1, height=5)


def test_equal_are_those_of_one_class_with_equal_attributes():
    assert Size(width=1) == Size(width=1)
    assert Size(width=1) != Size(width=1, height=3)
    assert Size(width=1) != Other(width=1)
    convolution = find("Convolution")
    pair = [convolution(kernel=(3, 3), num_filter=4) for _ in range(2)]
    assert len(set(pair)) == 1
    assert len({*pair, convolution(kernel=(3, 3), num_filter=5)}) == 2


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_are_equal(copied):
    record = find("Convolution")(kernel=(3, 3), num_filter=4)
    assert copied(record) == record


def test_wrong_arguments_and_assignments_are_refused():
    with pytest.raises(TypeError, match="needs the argument 'width'"):
        Size()
    with pytest.raises(TypeError, match="has no argument 'depth'"):
        Size(width=1, depth=2)
    with pytest.raises(TypeError):
        Size(1)
    size = Size(width=1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'width'"):
        size.width = 2
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'width'"):
        del size.width
    assert size.width == 1
