"""Small things that export needs of the floors beneath."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import InvalidArgumentError, ShapeError
from tests.export.bundles import trained


def test_an_array_over_memory_that_is_there():
    memory = np.arange(6, dtype=np.float32)
    array = sb.NDArray.over(memory.reshape(2, 3))
    assert (array.shape, array.dtype) == ((2, 3), np.float32)
    memory[0] = 9
    assert array.ortvalue.numpy()[0, 0] == 9
    array[1, 2] = -1
    assert memory[5] == -1
    with pytest.raises(ShapeError, match="is not contiguous"):
        sb.NDArray.over(memory.reshape(2, 3).T)


def test_the_module_of_a_key():
    module = trained(keys=(4, 6))
    assert module.module_of(4) is not module.module_of(6)
    assert module.module_of(6) is module.default_module
    with pytest.raises(InvalidArgumentError, match="bucket key 5 is not bound; bound are 6, 4"):
        module.module_of(5)


def test_state_names_are_known():
    net = sb.sym.Variable("data") + sb.sym.Variable("before")
    assert sb.mod.Module(net, ("data",), (), state_names=("before",)).state_names == ["before"]
