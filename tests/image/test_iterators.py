"""Iterators over pictures: batches are those of MXNet."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb
from symbucket import recordio
from tests.image.pictures import png

pytest.importorskip("PIL")
image = sb.image
SHAPE = (3, 4, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five pictures of random pixels, as records and as a list of files."""
    path = tmp_path_factory.mktemp("pictures")
    random = np.random.RandomState(1)
    records = recordio.MXIndexedRecordIO(path / "i.idx", path / "i.rec", "w")
    for i in range(5):
        content = png((random.rand(6 + i, 8, 3) * 255).astype(np.uint8))
        records.write_idx(i, recordio.pack(recordio.IRHeader(0, float(i % 3), i, 0), content))
        (path / f"im{i}.png").write_bytes(content)
    records.close()
    lines = (f"{i}\t{i % 3}\tim{i}.png\n" for i in range(5))
    (path / "i.lst").write_text("".join(lines))
    return path


def labels_and_pads(batches):
    return [(b.label[0].asnumpy().tolist(), b.pad) for b in batches]


WHOLE = [([0.0, 1.0], 0), ([2.0, 0.0], 0), ([1.0, 0.0], 1)]


def test_records_and_lists_are_read_as_by_mxnet(folder):
    sources = [
        {"path_imgrec": folder / "i.rec"},
        {"path_imgrec": folder / "i.rec", "path_imgidx": folder / "i.idx"},
        {"path_imglist": folder / "i.lst", "path_root": folder},
        {"imglist": [[i % 3, f"im{i}.png"] for i in range(5)], "path_root": folder},
    ]
    for source in sources:
        batches = image.ImageIter(2, SHAPE, **source)
        assert batches.provide_data == [("data", (2, *SHAPE))]
        assert batches.provide_label == [("softmax_label", (2,))]
        for _ in range(2):
            epoch = list(batches)
            assert labels_and_pads(epoch) == WHOLE
            means = [b.data[0].asnumpy().mean() for b in epoch]
            np.testing.assert_allclose(means, [147.08, 124.88, 131.93], atol=6e-3)  # MXNet
            batches.reset()


def test_last_batches_and_parts(folder):
    records = {"path_imgrec": folder / "i.rec"}
    dropped = image.ImageIter(2, SHAPE, last_batch_handle="discard", **records)
    assert labels_and_pads(dropped) == WHOLE[:2]
    rolled = image.ImageIter(2, SHAPE, last_batch_handle="roll_over", **records)
    assert labels_and_pads(rolled) == WHOLE[:2]
    rolled.reset()
    assert labels_and_pads(rolled) == [([1.0, 0.0], 0), ([1.0, 2.0], 0), ([0.0, 1.0], 0)]
    rolled.hard_reset()
    assert labels_and_pads(rolled) == WHOLE[:2]
    part = image.ImageIter(2, SHAPE, part_index=1, num_parts=2, **records)
    assert labels_and_pads(part) == [([2.0, 0.0], 0)]
    with pytest.raises(sb.MXNetError, match=r"1 part\(s\) fill no batch of 9"):
        image.ImageIter(9, SHAPE, last_batch_handle="discard", **records)


def test_shuffled_epochs_hold_every_picture(folder):
    batches = image.ImageIter(1, SHAPE, path_imgrec=folder / "i.rec", shuffle=True)
    epochs = []
    for _ in range(6):
        epochs.append([int(b.index[0]) for b in batches])
        batches.reset()
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_lists_give_several_labels(folder):
    (folder / "two.lst").write_text("3\t5\t6\tim3.png\n1\t7\t8\tim1.png\n")
    listed = image.ImageIter(
        2, SHAPE, 2, path_imglist=folder / "two.lst", path_root=folder, dtype="float16"
    )
    batch = listed.next()
    assert batch.label[0].asnumpy().tolist() == [[5, 6], [7, 8]]
    assert batch.data[0].dtype == np.float16
    records = image.ImageIter(
        2, SHAPE, 2, path_imglist=folder / "two.lst", path_imgrec=folder / "i.rec"
    )
    assert records.next().label[0].asnumpy().tolist() == [[7, 8], [5, 6]]
    with pytest.raises(sb.MXNetError, match="picture 0 has 2 labels, and label_width=1"):
        image.ImageIter(1, SHAPE, path_imglist=folder / "two.lst", path_root=folder).next()


def test_a_subclass_changes_a_step(folder):
    class Dark(image.ImageIter):
        def augmentation_transform(self, data):
            return super().augmentation_transform(data) * 0

    batch = Dark(2, SHAPE, path_imgrec=folder / "i.rec").next()
    assert batch.data[0].asnumpy().max() == 0


def test_wrong_options_and_files(folder, tmp_path):
    with pytest.raises(sb.MXNetError, match="give pictures: path_imgrec"):
        image.ImageIter(2, SHAPE)
    with pytest.raises(sb.MXNetError, match=r"data_shape=\(2, 4, 4\) must be"):
        image.ImageIter(2, (2, 4, 4), path_imgrec=folder / "i.rec")
    with pytest.raises(sb.MXNetError, match="give aug_list or the arguments resize"):
        image.ImageIter(2, SHAPE, path_imgrec=folder / "i.rec", aug_list=[], resize=3)
    with pytest.raises(sb.MXNetError, match=r"picture 0 has shape \(3, 6, 8\) after"):
        image.ImageIter(1, SHAPE, path_imgrec=folder / "i.rec", aug_list=[]).next()
    (tmp_path / "bad.lst").write_text("0\t1\n")
    with pytest.raises(sb.MXNetError, match=r"line 1: .* is not id<TAB>labels<TAB>path"):
        image.ImageIter(2, SHAPE, path_imglist=tmp_path / "bad.lst")
    with pytest.raises(sb.MXNetError, match=r"cannot read the picture 'none\.png'"):
        image.ImageIter(1, SHAPE, imglist=[[0, "none.png"]], path_root=tmp_path).next()


def test_record_iterator_of_older_scripts(folder):
    batches = sb.io.ImageRecordIter(
        path_imgrec=str(folder / "i.rec"),
        path_imglist="",
        data_shape=SHAPE,
        batch_size=2,
        resize=5,
        mean_r=100,
        scale=0.5,
        preprocess_threads=4,
        shuffle=False,
        max_random_scale=1,
        rand_mirror=False,
    )
    epoch = list(batches)
    assert labels_and_pads(epoch) == WHOLE
    means = [b.data[0].asnumpy().mean() for b in epoch]
    np.testing.assert_allclose(means, [50.34, 45.74, 48.38], atol=0.1)  # MXNet
    mirrored = sb.io.ImageRecordIter(folder / "i.rec", SHAPE, 2, mirror=True).next()
    plain = sb.io.ImageRecordIter(folder / "i.rec", SHAPE, 2).next()
    assert (mirrored.data[0].asnumpy() == plain.data[0].asnumpy()[..., ::-1]).all()
    with pytest.raises(sb.MXNetError, match=r"max_rotate_angle=10 is not supported\. image\.Image"):
        sb.io.ImageRecordIter(folder / "i.rec", SHAPE, 2, max_rotate_angle=10)


def test_a_module_trains_on_records(folder):
    batches = image.ImageIter(2, SHAPE, path_imgrec=folder / "i.rec", mean=True, std=True)
    data = sb.sym.Variable("data")
    net = sb.sym.Convolution(data, kernel=(3, 3), num_filter=4, name="conv")
    net = sb.sym.FullyConnected(sb.sym.Activation(net, act_type="relu"), num_hidden=3, name="fc")
    module = sb.mod.Module(sb.sym.SoftmaxOutput(net, name="softmax"))
    module.fit(batches, num_epoch=30, optimizer_params={"learning_rate": 0.1})
    assert module.score(batches, "acc")[0][1] == 1.0
