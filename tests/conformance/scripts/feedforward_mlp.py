"""FeedForward on several contexts, with a checkpoint, and a prediction from it."""

import os
import tempfile

import numpy as np

import symbucket as mx
from tests.conformance.scripts.custom_softmax import blobs


def main():
    mx.random.seed(5)
    net = mx.symbol.Variable("data")
    net = mx.symbol.FullyConnected(net, name="fc1", num_hidden=16)
    net = mx.symbol.Activation(net, name="relu1", act_type="relu")
    net = mx.symbol.FullyConnected(net, name="fc2", num_hidden=3)
    net = mx.symbol.SoftmaxOutput(net, name="softmax")
    x, y = blobs(120)
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "mlp")
        model = mx.model.FeedForward(
            ctx=[mx.cpu(i) for i in range(2)],
            symbol=net,
            num_epoch=5,
            learning_rate=0.1,
            momentum=0.9,
            numpy_batch_size=20,
            initializer=mx.init.Xavier(),
        )
        model.fit(
            X=x,
            y=y,
            eval_data=blobs(60, 1),
            batch_end_callback=mx.callback.log_train_metric(2),
            epoch_end_callback=mx.callback.do_checkpoint(prefix),
            kvstore="device",
        )
        again = mx.model.FeedForward.load(prefix, 5, ctx=mx.cpu())
        test_x, test_y = blobs(60, 1)
        predicted = again.predict(mx.io.NDArrayIter(test_x, None, 20))
        assert np.allclose(predicted, model.predict(test_x), atol=1e-5)
    return float((predicted.argmax(1) == test_y).mean())


if __name__ == "__main__":
    print(main())
