"""Files of arrays: checksums, versions, and files of other programs."""

import json
import os

import numpy as np
import pytest
import safetensors.numpy

from symbucket.errors import CheckpointError, UnsupportedError
from symbucket.files import pack_arrays, pack_mxnet, read_arrays, unpack_arrays

ARRAYS = {"a": np.arange(3, dtype=np.float32), "b": np.array(7, np.int64)}


def packed(**metadata):
    return pack_arrays(ARRAYS, "symbucket-params", metadata)


def test_arrays_and_metadata_come_back_and_bytes_repeat():
    arrays, about = unpack_arrays(packed(network="x"), "file")
    assert {n: (a.dtype, a.tolist()) for n, a in arrays.items()} == {
        "a": (np.float32, [0, 1, 2]),
        "b": (np.int64, 7),
    }
    assert about == {"format": "symbucket-params", "version": "2", "network": "x"}
    assert packed(network="x", more="y") == packed(network="x", more="y")
    swapped = {name: a.astype(a.dtype.newbyteorder(">")) for name, a in ARRAYS.items()}
    assert pack_arrays(swapped, "symbucket-params", {}) == packed()


def test_every_flipped_bit_is_refused():
    content = packed(network="x")
    for position in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(CheckpointError, match="'f'"):
            unpack_arrays(bytes(flipped), "'f'")


def test_a_file_cut_off_anywhere_is_refused():
    content = packed()
    for length in range(len(content)):
        with pytest.raises(CheckpointError, match="'f' is damaged or no parameter file"):
            unpack_arrays(content[:length], "'f'")


def test_files_of_other_programs_and_older_versions_have_no_checksum():
    for metadata in (None, {"format": "pt"}, {"format": "symbucket-params", "version": "1"}):
        arrays, about = unpack_arrays(safetensors.numpy.save(ARRAYS, metadata), "file")
        assert arrays["b"] == 7
        assert about == (metadata or {})


@pytest.mark.parametrize("about", [{"format": "symbucket-params", "version": "99"}, {}])
def test_other_versions_are_refused(about):
    content = safetensors.numpy.save(ARRAYS, {"symbucket": json.dumps(about)})
    with pytest.raises(CheckpointError, match=r"version .* this symbucket reads 1 and 2"):
        unpack_arrays(content, "file")
    old = {"format": "symbucket-params", "version": "3"}
    with pytest.raises(CheckpointError, match="version '3'"):
        unpack_arrays(safetensors.numpy.save(ARRAYS, old), "file")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CheckpointError, match="fifo' is no file; expected a parameter file"):
        read_arrays(tmp_path / "fifo")
    with pytest.raises(CheckpointError, match="cannot read the parameter file"):
        read_arrays(tmp_path)
    with pytest.raises(CheckpointError, match="there is no parameter file"):
        read_arrays(tmp_path / "none")
    with pytest.raises(CheckpointError, match="null"):
        read_arrays("a\0b")


def test_only_numbers_are_written():
    with pytest.raises(UnsupportedError, match="'w' is <U1"):
        pack_arrays({"w": np.array(["x"])}, "symbucket-params", {})


def of_another_program(dtype, content, shape):
    head = {"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(content)]}}
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + content


def test_bfloat16_is_read_as_float32():
    exact = np.array([[1.0, -2.5, 0.0, 3e38, np.inf]], np.float32).view(np.uint32)
    halves = (exact >> 16).astype("<u2")
    values = unpack_arrays(of_another_program("BF16", halves.tobytes(), [1, 5]), "f").arrays["w"]
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, (halves.astype(np.uint32) << 16).view(np.float32))
    assert values[0, :3].tolist() == [1.0, -2.5, 0.0]


@pytest.mark.parametrize(("dtype", "size"), [("F8_E4M3", 1), ("F8_E5M2", 1), ("C64", 8)])
def test_dtypes_that_no_array_has_are_told_apart_from_damage(dtype, size):
    with pytest.raises(UnsupportedError, match=f"'w' has the dtype {dtype}"):
        unpack_arrays(of_another_program(dtype, bytes(2 * size), [2]), "f")


def test_what_no_file_holds_is_not_written():
    with pytest.raises(UnsupportedError, match="of up to 64 bits"):
        pack_arrays({"a": np.zeros(2, np.longdouble)}, "symbucket-nd", {})
    for pack in (lambda arrays: pack_arrays(arrays, "symbucket-nd", {}), pack_mxnet):
        with pytest.raises(UnsupportedError, match="surrogates not allowed"):
            pack({"\ud800": np.zeros(2, np.float32)})
