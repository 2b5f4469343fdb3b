"""``nd``: making arrays and files of them."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import ndarray as nd
from symbucket.errors import CheckpointError, InvalidArgumentError


def test_array_dtypes():
    assert nd.array([[1, 2], [3, 4]]).dtype == np.float32
    # As in MXNet, numpy's dtype is not kept, an NDArray's is.
    assert nd.array(np.arange(3)).dtype == np.float32
    assert nd.array(nd.array([1, 2], dtype="int32")).dtype == np.int32
    doubles = nd.array([0.1], dtype=np.float64)
    assert doubles.dtype == np.float64
    assert doubles.asnumpy()[0] == 0.1
    source = np.ones(3, np.float32)
    made = nd.array(source, ctx=sb.cpu())
    source[...] = 5
    np.testing.assert_array_equal(made.asnumpy(), [1, 1, 1])
    assert isinstance(made, nd.NDArray)
    assert made.context == sb.cpu()
    assert nd.array(2.5).shape == ()


def test_filled_arrays():
    np.testing.assert_array_equal(nd.zeros((2, 3)).asnumpy(), np.zeros((2, 3)))
    np.testing.assert_array_equal(nd.ones(4, dtype="int64").asnumpy(), np.ones(4, np.int64))
    np.testing.assert_array_equal(nd.full([2, 1], 2.5).asnumpy(), [[2.5], [2.5]])
    made = [nd.zeros(2), nd.ones(2), nd.full(2, 1), nd.empty((2, 0), dtype=None)]
    assert [a.dtype for a in made] == [np.float32] * 4
    assert nd.ones(4, dtype="int64").dtype == np.int64
    assert nd.empty((3, 2), sb.cpu(), "float16").dtype == np.float16
    assert nd.empty((2, 0)).shape == (2, 0)
    nd.waitall()


def test_list_round_trip(tmp_path):
    path = str(tmp_path / "arrays")
    data = [nd.full(1, i, dtype=d) for i, d in enumerate(["float32", "float64", "int32"] * 4)]
    nd.save(path, data)
    found = nd.load(path)
    assert isinstance(found, list)
    assert [a.dtype for a in found] == [a.dtype for a in data]
    np.testing.assert_array_equal([a.asscalar() for a in found], np.arange(12))
    nd.save(path, nd.ones((2, 2)))
    (one,) = nd.load(path)
    assert one.shape == (2, 2)
    nd.save(path, [])
    assert nd.load(path) == []


def test_dict_round_trip(tmp_path):
    path = str(tmp_path / "arrays")
    nd.save(path, {"b": nd.ones(2), "1": nd.zeros((0, 3))})
    found = nd.load(path)
    assert {name: a.shape for name, a in found.items()} == {"b": (2,), "1": (0, 3)}
    nd.save(path, {})
    assert nd.load(path) == {}


def test_load_reads_parameter_files(tmp_path):
    prefix = str(tmp_path / "model")
    sb.model.save_checkpoint(prefix, 1, None, {"w": nd.ones(2)}, {"mean": nd.zeros(1)})
    found = nd.load(f"{prefix}-0001.params")
    assert set(found) == {"arg:w", "aux:mean"}


def test_errors(tmp_path):
    path = str(tmp_path / "arrays")
    for source in ([[1], [2, 3]], "words", [object()]):
        with pytest.raises(InvalidArgumentError, match=r"cannot be made an array of float32"):
            nd.array(source)
    with pytest.raises(InvalidArgumentError, match="'float33' is no dtype"):
        nd.zeros(2, dtype="float33")
    for shape in (-1, (2, -1), 1.5, ("2",), True):
        with pytest.raises(InvalidArgumentError, match="shape="):
            nd.zeros(shape)
    with pytest.raises(InvalidArgumentError, match="entry 'b' is a list"):
        nd.save(path, {"a": nd.ones(1), "b": [1]})
    with pytest.raises(InvalidArgumentError, match="entry '0' is a ndarray"):
        nd.save(path, [np.ones(1)])
    with pytest.raises(InvalidArgumentError, match="key 3"):
        nd.save(path, {3: nd.ones(1)})
    with pytest.raises(InvalidArgumentError, match="data is a ndarray"):
        nd.save(path, np.ones(1))
    with pytest.raises(CheckpointError, match="there is no file"):
        nd.load(path)
    with pytest.raises(CheckpointError, match="cannot write"):
        nd.save(str(tmp_path / "absent" / "arrays"), nd.ones(1))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "arrays").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="damaged"):
        nd.load(path)
