"""MXNet's ``.params``: files that MXNet 1.9.1 wrote, its older layouts, and files that lie."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from symbucket.errors import CheckpointError, UnsupportedError
from symbucket.files import pack_mxnet, unpack_mxnet

DATA = Path(__file__).parents[1] / "data" / "mxnet"
DTYPES = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool"]
VALUES = np.array([[1.5, -2.0, 3.25]], np.float32)


def recorded(name):
    return (DATA / name).read_bytes()


def file_of(*records, names=()):
    """A file of these bytes, one record an array."""
    parts = [struct.pack("<QQQ", 0x112, 0, len(records)), *records, struct.pack("<Q", len(names))]
    for name in names:
        parts += [struct.pack("<Q", len(name)), name]
    return b"".join(parts)


def record(
    magic=0xF993FAC9, storage=0, rank=2, shape=(1, 3), context=(1, 0), dtype=0, data=None, size="q"
):
    parts = [struct.pack("<I", magic)]
    if storage is not None:
        parts.append(struct.pack("<i", storage))
    if rank is not None:
        parts.append(struct.pack("<i", rank))
    parts.append(struct.pack(f"<{len(shape)}{size}", *shape))
    parts.append(struct.pack("<3i", *context, dtype))
    return b"".join([*parts, VALUES.tobytes() if data is None else data])


LEGACY = record(2, None, None, size="I")
V1 = record(0xF993FAC8, None)
V3 = record(0xF993FACA)


def test_every_dtype_that_mxnet_wrote_comes_back_and_goes_out_byte_for_byte():
    content = recorded("dtypes.params")
    arrays = unpack_mxnet(content, "file")
    assert list(arrays) == [f"arg:{dtype}" for dtype in DTYPES]
    for dtype, array in zip(DTYPES, arrays.values()):
        assert array.dtype == dtype
        assert array.tolist() == [[0, 1, 0], [1, 0, 1]]
    assert pack_mxnet(arrays) == content
    # An array in another byte order, or with gaps, is written as MXNet would.
    other = {name: a.astype(a.dtype.newbyteorder(">"))[:, ::1] for name, a in arrays.items()}
    assert pack_mxnet(other) == content


def test_a_list_has_no_names():
    content = recorded("list.params")
    arrays = unpack_mxnet(content, "file")
    assert [a.tolist() for a in arrays] == [[1, 1], [[0, 0, 0]]]
    assert pack_mxnet(arrays) == content
    assert unpack_mxnet(pack_mxnet({}), "file") == []


def test_numpy_mode_has_scalars_and_empty_arrays():
    arrays = unpack_mxnet(recorded("numpy_mode.params"), "file")
    assert arrays["scalar"].shape == ()
    assert arrays["scalar"] == 3
    assert arrays["empty"].shape == (0, 3)
    assert arrays["m"].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("old", [LEGACY, V1, V3, record(storage=-1), record(context=(2, 7))])
def test_older_layouts_and_other_contexts_hold_the_same_values(old):
    (array,) = unpack_mxnet(file_of(old), "file")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, VALUES)
    named = unpack_mxnet(file_of(old, old, names=[b"a", "gr\u00fc\u00df".encode()]), "file")
    assert list(named) == ["a", "gr\u00fc\u00df"]


def test_dtypes_beyond_those_of_mxnet_1_9_are_read():
    for number, dtype in zip(range(8, 12), ["int16", "uint16", "uint32", "uint64"]):
        data = np.array([7, 8], dtype).tobytes()
        (array,) = unpack_mxnet(file_of(record(rank=1, shape=(2,), dtype=number, data=data)), "f")
        assert array.dtype == dtype
        assert array.tolist() == [7, 8]
    upper = VALUES.view(np.uint32) >> 16  # VALUES are exact in bfloat16
    data = upper.astype(np.uint16).tobytes()
    (array,) = unpack_mxnet(file_of(record(dtype=12, data=data)), "file")
    np.testing.assert_array_equal(array, VALUES)
    assert array.dtype == np.float32


def test_no_array_is_an_empty_one():
    none = struct.pack("<Iii", 0xF993FAC9, 0, 0)
    unknown = struct.pack("<Iii", 0xF993FACA, 0, -1)
    old = struct.pack("<I", 0)
    arrays = unpack_mxnet(file_of(none, unknown, old, LEGACY), "file")
    assert [a.shape for a in arrays] == [(0,), (0,), (0,), (1, 3)]


def test_sparse_arrays_are_refused_with_advice():
    with pytest.raises(UnsupportedError, match=r"array 0 is stored as row_sparse.*tostype"):
        unpack_mxnet(recorded("row_sparse.params"), "file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "magic number would take 16 bytes, but 0 are left"),
        (b"x" * 16, "'f' is no file of MXNet: it begins with 7878"),
        (struct.pack("<QQQ", 0x112, 0, 1 << 60), "1152921504606846976 arrays are announced"),
        (file_of(record(rank=33, shape=(1,) * 33)), "rank 33; expected 0 to 32"),
        (file_of(record(rank=-2, shape=())), "rank -2"),
        (file_of(record(shape=(1, -3))), r"shape \(1, -3\)"),
        (file_of(record(shape=(1 << 40, 1 << 40))), "would take 4835703278458516698824704 bytes"),
        (file_of(record(shape=(1 << 62, 4))), "would take"),  # 2**66 bytes: 0 in 64 bits
        (file_of(record(shape=(0, 1 << 60, 8))), "shape .*, which no array has"),
        (file_of(record(dtype=13)), "dtype number 13"),
        (file_of(record(dtype=-1)), "dtype number -1"),
        (file_of(record(storage=3)), "kind of storage 3"),
        (file_of(record(magic=0xF993FACB)), "rank 4187224779"),
        (file_of(V1, names=[b"a", b"b"]), "1 arrays have 2 names"),
        (file_of(V1, V1, names=[b"a", b"a"]), "two arrays have the name 'a'"),
        (file_of(V1, names=[b"\xff"]), "name 0 is no UTF-8"),
        (file_of(V1) + b"\0", "1 bytes follow after the last name"),
        (file_of(V1)[:-8] + struct.pack("<QQ", 1, 1 << 50), "letters of name 0 are announced"),
    ],
)
def test_files_that_lie_are_refused_with_the_place(content, message):
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=message):
            unpack_mxnet(content, "'f'")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_a_file_cut_off_anywhere_is_refused():
    content = recorded("dtypes.params")
    for length in range(len(content)):
        with pytest.raises(CheckpointError, match="damaged or cut off"):
            unpack_mxnet(content[:length], "file")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(2, np.uint16), "'w' is uint16; MXNet's format has float32, float64"),
        (np.zeros(2, np.complex64), "complex64"),
        (np.float32(3), r"shape \(\); MXNet reads arrays with one axis or more"),
        (np.zeros((0, 3), np.float32), r"shape \(0, 3\)"),
    ],
)
def test_what_mxnet_would_not_read_is_not_written(array, message):
    with pytest.raises(UnsupportedError, match=message):
        pack_mxnet({"w": array})
