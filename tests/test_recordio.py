"""Files of records: MXNet's bytes, and what is damaged."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import recordio

MAGIC = b"\x0a\x23\xd7\xce"


def test_bytes_are_those_of_mxnet(tmp_path):
    path = tmp_path / "a.rec"
    with recordio.MXRecordIO(path, "w") as records:
        records.write(recordio.pack(recordio.IRHeader(0, 0.0, 0, 0), b""))
        records.write(recordio.pack(recordio.IRHeader(0, 1.0, 1, 0), b"abc"))
    assert (
        path.read_bytes().hex()
        == (  # written by MXNet 1.9.1
            "0a23d7ce18000000" + "00" * 24 + "0a23d7ce1b00000000000000"
            "0000803f0100000000000000000000000000000061626300"
        )
    )


def test_labels_and_keys(tmp_path):
    files = tmp_path / "a.idx", tmp_path / "a.rec"
    records = recordio.MXIndexedRecordIO(*files, "w")
    for i in range(4):
        records.write_idx(i, recordio.pack(recordio.IRHeader(0, float(i), i, 0), b"abc" * i))
    labels = recordio.IRHeader(0, [1.0, 2.0, 3.0], 7, 1)
    records.write_idx(9, recordio.pack(labels, b"zzzzz"))
    with pytest.raises(sb.MXNetError, match="a record of key 9 already"):
        records.write_idx(9, b"")
    records.close()
    assert files[0].read_text() == "0\t0\n1\t32\n2\t68\n3\t108\n9\t152\n"
    again = recordio.MXIndexedRecordIO(*files, "r")
    assert again.keys == [0, 1, 2, 3, 9]
    header, content = recordio.unpack(again.read_idx(9))
    assert header[0] == 3
    assert (header.label.tolist(), header.id, header.id2) == ([1.0, 2.0, 3.0], 7, 1)
    assert content == b"zzzzz"
    assert recordio.unpack(again.read_idx(2)) == ((0, 2.0, 2, 0), b"abcabc")
    with pytest.raises(sb.MXNetError, match="no record of key 4"):
        again.read_idx(4)
    again.reset()
    assert len([*iter(again.read, None)]) == 5
    again.close()
    with pytest.raises(sb.MXNetError, match="are closed"):
        again.read()


@pytest.mark.parametrize(
    "content", [MAGIC, b"abcd" + MAGIC + b"x" + MAGIC * 3 + b"q", b"abc" + MAGIC, MAGIC + b"1234"]
)
def test_the_magic_number_may_stand_in_a_record(tmp_path, content):
    path = tmp_path / "a.rec"
    with recordio.MXRecordIO(path, "w") as records:
        records.write(content)
        records.write(b"next")
    with recordio.MXRecordIO(path, "r") as records:
        assert records.read() == content
        assert records.read() == b"next"
        assert records.read() is None


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "a.rec"
    with recordio.MXRecordIO(path, "w") as records:
        records.write(b"0123456789")
        with pytest.raises(sb.MXNetError, match="opened with flag='w'"):
            records.read()
    whole = path.read_bytes()
    middle = whole[:4] + (3 << 29 | 10).to_bytes(4, "little") + whole[8:]
    for damaged in (whole[:-1], whole[:6], b"PK" + whole, middle):
        path.write_bytes(damaged)
        damage = pytest.raises(sb.MXNetError, match="no whole record at byte 0")
        with recordio.MXRecordIO(path, "r") as records, damage:
            records.read()
    (tmp_path / "a.idx").write_text("0 0\n")
    with pytest.raises(sb.MXNetError, match="no index of records"):
        recordio.MXIndexedRecordIO(tmp_path / "a.idx", path, "r")
    with pytest.raises(sb.MXNetError, match="cannot open records"):
        recordio.MXRecordIO(tmp_path / "none.rec", "r")
    with pytest.raises(sb.MXNetError, match="has no header"):
        recordio.unpack(b"short")


def test_pictures(tmp_path):
    pytest.importorskip("PIL")
    blue_first = np.zeros((4, 5, 3), np.uint8)
    blue_first[:, :, 0] = 200
    header = recordio.IRHeader(0, 2.0, 5, 0)
    record = recordio.pack_img(header, blue_first, 9, ".png")
    again, values = recordio.unpack_img(record)
    assert (again.label, again.id) == (2.0, 5)
    assert (values == blue_first).all()
    assert recordio.unpack_img(record, 0)[1].shape == (4, 5)
    jpeg = recordio.unpack_img(recordio.pack_img(header, blue_first))[1]
    assert np.abs(jpeg.astype(int) - blue_first).max() < 4
    with pytest.raises(sb.MXNetError, match=r"written as one of \.jpg, \.jpeg, \.png"):
        recordio.pack_img(header, blue_first, img_fmt=".gif")
    with pytest.raises(sb.MXNetError, match="are no picture"):
        recordio.unpack_img(recordio.pack(header, b"no picture"))
