"""A model that PyTorch exported trains here as it does there."""

import io
import warnings

import numpy as np
import onnx
import pytest

import symbucket as sb
from symbucket import sym

torch = pytest.importorskip("torch")


class Tagger(torch.nn.Module):
    """Embedding, one attention layer of a transformer, an LSTM, a classifier of the sentence."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(11, 8)
        self.layer = torch.nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.lstm = torch.nn.LSTM(8, 6, batch_first=True)
        self.out = torch.nn.Linear(6, 3)

    def forward(self, ids):
        x = self.layer(self.table(ids))
        x, _ = self.lstm(x)
        return self.out(x.mean(dim=1))


def _exported(network, ids):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.from_numpy(ids),),
            file,
            opset_version=17,
            input_names=["ids"],
            output_names=["scores"],
            dynamic_axes={"ids": {0: "n", 1: "t"}},
            training=torch.onnx.TrainingMode.TRAINING,
            do_constant_folding=False,
            dynamo=False,
        )
    return onnx.load_from_string(file.getvalue())


def test_training_follows_torch_over_two_lengths():
    torch.manual_seed(0)
    network = Tagger().train()
    generator = np.random.default_rng(0)
    batches = []
    for length in (6, 4):
        ids = generator.integers(0, 11, (5, length))
        batches.append((ids, generator.integers(0, 3, 5)))
    # A file for every key: the exporter writes the length into attention's reshapes.
    made = {ids.shape[1]: _exported(network, ids) for ids, _ in batches}
    module = sb.mod.BucketingModule(
        lambda key: (
            sym.SoftmaxOutput(
                sym.from_onnx(made[key], name="net"), sym.Variable("softmax_label"), name="softmax"
            ),
            ("ids",),
            ("softmax_label",),
        ),
        default_bucket_key=6,
    )
    module.bind([sb.io.DataDesc("ids", (5, 6), np.int64)], [("softmax_label", (5,))])
    module.init_params()
    module.init_optimizer(optimizer_params={"learning_rate": 0.5})
    optimizer = torch.optim.SGD(network.parameters(), 0.5)
    for step in range(6):
        ids, label = batches[step % 2]
        optimizer.zero_grad()
        scores = network(torch.from_numpy(ids))
        torch.nn.functional.cross_entropy(scores, torch.from_numpy(label)).backward()
        optimizer.step()
        module.forward_backward(
            sb.io.DataBatch(
                [ids],
                [label],
                bucket_key=ids.shape[1],
                provide_data=[sb.io.DataDesc("ids", ids.shape, np.int64)],
                provide_label=[("softmax_label", label.shape)],
            )
        )
        found = module.get_outputs()[0].asnumpy()
        expected = torch.softmax(scores, dim=1).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4, err_msg=f"step {step}")
        module.update()
