"""A network and a hinge loss in Python, as two modules in a chain."""

import numpy as np

import symbucket as mx
from tests.conformance.scripts.custom_softmax import blobs


def mc_hinge_grad(scores, labels):
    scores = scores.asnumpy()
    labels = labels.asnumpy().astype(int)
    n, _ = scores.shape
    grad = np.zeros_like(scores)
    for i in range(n):
        score = 1 + scores[i] - scores[i, labels[i]]
        score[labels[i]] = 0
        ind_pred = score.argmax()
        grad[i, labels[i]] -= 1
        grad[i, ind_pred] += 1
    return grad


def main():
    mx.random.seed(3)
    data = mx.symbol.Variable("data")
    fc1 = mx.symbol.FullyConnected(data, name="fc1", num_hidden=16)
    act1 = mx.symbol.Activation(fc1, name="relu1", act_type="relu")
    fc2 = mx.symbol.FullyConnected(act1, name="fc2", num_hidden=3)
    mlp = mx.mod.Module(fc2, label_names=[])
    loss = mx.mod.PythonLossModule(grad_func=mc_hinge_grad)
    mod = mx.mod.SequentialModule().add(mlp).add(loss, take_labels=True, auto_wiring=True)
    train = mx.io.NDArrayIter(*blobs(120), 20)
    mod.fit(
        train,
        optimizer_params={"learning_rate": 0.2, "momentum": 0.9},
        initializer=mx.init.Xavier(),
        num_epoch=6,
    )
    return dict(mod.score(mx.io.NDArrayIter(*blobs(60, 1), 20), "acc"))["accuracy"]


if __name__ == "__main__":
    print(main())
