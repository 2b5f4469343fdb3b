"""``nd``: making arrays and files of them."""

import numpy as np
import pytest

import symbucket as sb
from symbucket import ndarray as nd
from symbucket.errors import CheckpointError, InvalidArgumentError, ShapeError, UnsupportedError


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


def test_ranges_and_diagonals():
    for made, expected in [
        (nd.arange(5), [0, 1, 2, 3, 4]),
        (nd.arange(1, 5, 2), [1, 3]),
        (nd.arange(0, 1, 0.3), np.float32([0, 0.3, 0.6, 0.9])),
        (nd.arange(3, repeat=2), [0, 0, 1, 1, 2, 2]),
        (nd.arange(5, 0, -2), [5, 3, 1]),
        (nd.arange(2, 2), []),
        (nd.linspace(0, 1, 5), [0, 0.25, 0.5, 0.75, 1]),
        (nd.linspace(0, 1, 5, endpoint=False), np.float32([0, 0.2, 0.4, 0.6, 0.8])),
        (nd.eye(2, 3, 1), [[0, 1, 0], [0, 0, 1]]),
    ]:
        assert made.dtype == np.float32
        np.testing.assert_array_equal(made.asnumpy(), expected)
    assert nd.arange(5, dtype="int32").dtype == np.int32
    assert nd.eye(2, k=-1, dtype="int32").asnumpy().tolist() == [[0, 0], [1, 0]]
    with pytest.raises(InvalidArgumentError, match="step=0 must not be 0"):
        nd.arange(3, 5, 0)
    with pytest.raises(UnsupportedError, match="infer_range"):
        nd.arange(3, infer_range=True)


def test_out_is_filled():
    x = nd.zeros((2,), dtype="int32")
    assert nd.ones((2,), out=x) is x
    assert nd.full((2,), 7.7, out=x).asnumpy().tolist() == [7, 7]
    with pytest.raises(ShapeError, match=r"out has shape \(2,\); expected \(3,\)"):
        nd.zeros(3, out=x)
    with pytest.raises(UnsupportedError, match="every array is dense"):
        nd.zeros(3, stype="csr")
    assert nd.empty(np.array([2, 3])).shape == (2, 3)


def test_joining_and_moving():
    a, b = nd.ones((1, 2)), nd.zeros((1, 2))
    assert nd.concatenate([a, b]).asnumpy().tolist() == [[1, 1], [0, 0]]
    assert nd.concatenate([a, b], axis=1).shape == (1, 4)
    assert nd.concatenate([a], always_copy=False) is a
    assert nd.concatenate([a]) is not a
    assert nd.moveaxis(nd.zeros((2, 3, 4)), 0, 2).shape == (3, 4, 2)
    for wrong, text in [
        ([], "there are no arrays"),
        ([a, nd.ones((1, 2), dtype="int32")], "dtypes differ: float32, int32"),
        ([a, nd.ones((3,))], "dimension"),
    ]:
        with pytest.raises(InvalidArgumentError, match=text):
            nd.concatenate(wrong)
    with pytest.raises(ShapeError, match=r"nd.moveaxis of shape \(1, 2\)"):
        nd.moveaxis(a, 5, 0)


def test_parts():
    x = nd.arange(6)
    assert [part.asnumpy().tolist() for part in nd.split_v2(x, 2)] == [[0, 1, 2], [3, 4, 5]]
    first, _, third = nd.split_v2(x, (1, 3))
    assert third.asnumpy().tolist() == [3, 4, 5]
    first[:] = 9
    assert x.asnumpy()[0] == 0
    assert nd.split_v2(x, 1).shape == (6,)
    assert [part.shape for part in nd.split_v2(nd.ones((2, 3)), 2, squeeze_axis=True)] == [(3,)] * 2
    with pytest.raises(ShapeError, match=r"nd.split_v2 of shape \(6,\) at 4 along axis 0"):
        nd.split_v2(x, 4)


def test_memory_of_numpy():
    source = np.zeros(3, np.float32)
    shared, copied = nd.from_numpy(source), nd.from_numpy(source, zero_copy=False)
    shared[:] = 1
    assert source.tolist() == [1, 1, 1]
    assert copied.asnumpy().tolist() == [0, 0, 0]
    with pytest.raises(ShapeError, match="not contiguous"):
        nd.from_numpy(np.zeros((2, 3)).T)


def test_shared_memory_of_numpy_is_written_by_arrays_only():
    source = np.zeros((2, 2), np.float32)
    first = nd.from_numpy(source)
    with pytest.raises(ValueError, match="read-only"):
        source[0, 0] = 1
    again = nd.from_numpy(source)
    again[0, 1] = 3
    assert first.asnumpy().tolist() == source.tolist() == [[0, 3], [0, 0]]
    assert not source.flags.writeable
    constant = np.ones(2, np.float32)
    constant.flags.writeable = False
    with pytest.raises(ShapeError, match="read-only"):
        nd.from_numpy(constant)[0] = 5
    assert constant.tolist() == [1, 1]


def test_memory_goes_through_dlpack():
    x = nd.array([[1, 2], [3, 4]])
    for capsule in [x.to_dlpack_for_write(), nd.to_dlpack_for_write(x), nd.to_dlpack_for_read(x)]:
        assert nd.from_dlpack(capsule).asnumpy().tolist() == [[1, 2], [3, 4]]
    shared = nd.from_dlpack(x)
    x[0, 0] = 7
    assert shared.asnumpy()[0, 0] == 7
    assert nd.from_dlpack(np.arange(3)).asnumpy().tolist() == [0, 1, 2]


def test_numbers_that_are_none():
    x = nd.array([1, np.inf, -np.inf, np.nan])
    assert nd.contrib.isinf(x).asnumpy().tolist() == [0, 1, 1, 0]
    assert nd.contrib.isnan(x).asnumpy().tolist() == [0, 0, 0, 1]
    finite = nd.contrib.isfinite(x)
    assert (finite.asnumpy().tolist(), finite.dtype) == ([1, 0, 0, 0], np.float32)


def test_broadcast_to_takes_sizes_of_numpy():
    x = nd.array([[1], [2]])
    assert x.broadcast_to(np.array([3, 2, 2])).shape == (3, 2, 2)
    assert nd.array([1]).broadcast_to(np.int64(4)).shape == (4,)
    with pytest.raises(InvalidArgumentError, match="must name an axis at least"):
        nd.broadcast_like(x, x, lhs_axes=(), rhs_axes=())


def test_counting():
    out = nd.zeros((2, 2))
    assert nd.onehot_encode(nd.array([1, 0]), out) is out
    assert out.asnumpy().tolist() == [[0, 1], [1, 0]]
    counts, edges = nd.histogram(nd.arange(5), bins=2, range=(0, 4))
    assert (counts.dtype, edges.dtype) == (np.int64, np.float32)
    assert (counts.asnumpy().tolist(), edges.asnumpy().tolist()) == ([2, 3], [0, 2, 4])
    counts, _ = nd.histogram(nd.arange(5), bins=nd.array([0, 1, 5]))
    assert counts.asnumpy().tolist() == [1, 4]


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


@pytest.mark.parametrize("format", ["safetensors", "mxnet"])
def test_the_content_of_a_file_is_enough(tmp_path, format):
    path = tmp_path / "arrays"
    for kept in ({"a": nd.ones((2, 3)), "b": nd.zeros(1)}, [nd.ones(2)]):
        nd.save(str(path), kept, format=format)
        content = path.read_bytes()
        read = nd.load_frombuffer(content)
        assert len(read) == len(kept)
        for key in kept if isinstance(kept, dict) else range(len(kept)):
            assert read[key].asnumpy().tolist() == kept[key].asnumpy().tolist()
        with pytest.raises(CheckpointError, match="the buffer"):
            nd.load_frombuffer(content[:-3])
    with pytest.raises(InvalidArgumentError, match="buf is a str; expected the bytes"):
        nd.load_frombuffer(str(path))


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
