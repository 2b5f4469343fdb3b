"""CSVIter, MNISTIter and PrefetchingIter; iterators that are refused by name."""

import gzip
import struct

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DataError, UnsupportedError


def _csv(tmp_path, name, array):
    np.savetxt(tmp_path / name, array, delimiter=",")
    return str(tmp_path / name)


def _rows(iterator):
    return [
        (b.data[0].asnumpy().reshape(2, -1)[:, 0].tolist(), b.label[0].asnumpy().tolist(), b.pad)
        for b in iterator
    ]


def test_csv(tmp_path):
    data = _csv(tmp_path, "d.csv", np.arange(15).reshape(5, 3))
    label = _csv(tmp_path, "l.csv", np.arange(5))
    iterator = sb.io.CSVIter(data, (3,), label, batch_size=2, prefetch_buffer=4)
    assert iterator.provide_data == [("data", (2, 3))]
    assert iterator.provide_label == [("softmax_label", (2,))]
    epoch = [([0, 3], [0, 1], 0), ([6, 9], [2, 3], 0), ([12, 0], [4, 0], 1)]
    assert _rows(iterator) == epoch
    iterator.reset()
    assert _rows(iterator) == epoch
    without = sb.io.CSVIter(data_csv=data, data_shape=(3, 1), batch_size=5)
    batch = without.next()
    assert batch.data[0].shape == (5, 3, 1)
    np.testing.assert_array_equal(batch.label[0].asnumpy(), 0)
    pairs = _csv(tmp_path, "p.csv", np.arange(10).reshape(5, 2))
    two = sb.io.CSVIter(data, (3,), pairs, (2,), batch_size=5)
    assert two.provide_label == [("softmax_label", (5, 2))]


def test_csv_that_does_not_fit(tmp_path):
    data = _csv(tmp_path, "d.csv", np.arange(15).reshape(5, 3))
    with pytest.raises(DataError, match=r"has 3 numbers; data_shape=\(2, 2\) asks for 4"):
        sb.io.CSVIter(data, (2, 2))
    (tmp_path / "bad.csv").write_text("1,2\n3\n")
    with pytest.raises(DataError, match="cannot read"):
        sb.io.CSVIter(tmp_path / "bad.csv", (2,))
    with pytest.raises(DataError, match="cannot read"):
        sb.io.CSVIter(tmp_path / "none.csv", (2,))


def _idx(array):
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


def test_mnist(tmp_path):
    images = np.arange(80).reshape(5, 4, 4)
    (tmp_path / "img").write_bytes(_idx(images))
    (tmp_path / "lab").write_bytes(gzip.compress(_idx(np.array([3, 1, 4, 1, 5]))))
    paths = {"image": tmp_path / "img", "label": tmp_path / "lab"}
    iterator = sb.io.MNISTIter(**paths, batch_size=2, shuffle=False, silent=True)
    assert iterator.provide_data == [("data", (2, 1, 4, 4))]
    batches = list(iterator)
    assert len(batches) == 2
    np.testing.assert_array_equal(batches[1].data[0].asnumpy()[:, 0] * 256, images[2:4])
    np.testing.assert_array_equal(batches[1].label[0].asnumpy(), [4, 1])
    flat = sb.io.MNISTIter(**paths, batch_size=5, flat=True, seed=1)
    assert flat.provide_data == [("data", (5, 16))]
    assert sorted(flat.next().label[0].asnumpy()) == [1, 1, 3, 4, 5]


@pytest.mark.parametrize("cut", [0, 3, 9, 40])
def test_idx_files_that_are_cut_off(tmp_path, cut):
    content = _idx(np.arange(80).reshape(5, 4, 4))
    (tmp_path / "img").write_bytes(content[:cut])
    (tmp_path / "lab").write_bytes(_idx(np.zeros(5)))
    with pytest.raises(DataError, match="no idx file, or it is cut off"):
        sb.io.MNISTIter(tmp_path / "img", tmp_path / "lab")


def test_idx_files_that_lie(tmp_path):
    (tmp_path / "img").write_bytes(struct.pack(">BBBB3I", 0, 0, 8, 3, *[2**31] * 3))
    with pytest.raises(DataError, match="no idx file"):
        sb.io.MNISTIter(tmp_path / "img", tmp_path / "img")


def _numbers(count=6):
    return sb.io.NDArrayIter(np.arange(count).reshape(count, 1), np.arange(count), 2)


def test_prefetching_gives_the_same_batches():
    iterator = sb.io.PrefetchingIter(_numbers(5))
    for _ in range(2):
        plain = _numbers(5)
        for batch, other in zip(iterator, plain, strict=True):
            np.testing.assert_array_equal(batch.data[0].asnumpy(), other.data[0].asnumpy())
            assert batch.pad == other.pad
        iterator.reset()
    next(iterator)
    iterator.reset()  # in the middle
    assert next(iterator).data[0].asnumpy().ravel().tolist() == [0, 1]


def test_prefetching_joins_iterators():
    iterator = sb.io.PrefetchingIter(
        [_numbers(), _numbers()],
        rename_data=[{"data": "d1"}, {"data": "d2"}],
        rename_label=[{"softmax_label": "l1"}, {"softmax_label": "l2"}],
    )
    assert [d.name for d in iterator.provide_data] == ["d1", "d2"]
    assert [d.name for d in iterator.provide_label] == ["l1", "l2"]
    batches = list(iterator)
    assert len(batches) == 3
    assert [d.name for d in batches[2].provide_data] == ["d1", "d2"]
    assert [a.asnumpy().ravel().tolist() for a in batches[2].data] == [[4, 5], [4, 5]]


def test_prefetching_trains_a_network_and_passes_errors_on():
    class Breaks(sb.io.NDArrayIter):
        def next(self):
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        next(sb.io.PrefetchingIter(Breaks(np.zeros((4, 1)), None, 2)))
    names = [{"data": "d"}, {}], [{"softmax_label": "l"}, {}]
    with pytest.raises(DataError, match="different numbers of batches"):
        list(sb.io.PrefetchingIter([_numbers(4), _numbers(6)], *names))
    with pytest.raises(DataError, match="rename_data has 2 entries for 1 iterators"):
        sb.io.PrefetchingIter(_numbers(), rename_data=[{}, {}])
    with pytest.raises(DataError, match="no iterators"):
        sb.io.PrefetchingIter([])


def test_iterators_that_do_not_exist_say_so():
    with pytest.raises(DataError, match=r"cannot open records 'x\.rec'"):
        sb.io.ImageRecordIter(path_imgrec="x.rec", data_shape=(3, 2, 2), batch_size=1)
    with pytest.raises(UnsupportedError, match="LibSVMIter makes sparse batches"):
        sb.io.LibSVMIter(data_libsvm="x")
