"""A softmax loss as an operator in Python, in a multilayer perceptron."""

import numpy as np

import symbucket as mx


class Softmax(mx.operator.CustomOp):
    def forward(self, is_train, req, in_data, out_data, aux):
        x = in_data[0].asnumpy()
        y = np.exp(x - x.max(axis=1).reshape((x.shape[0], 1)))
        y /= y.sum(axis=1).reshape((x.shape[0], 1))
        self.assign(out_data[0], req[0], mx.nd.array(y))

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        label = in_data[1].asnumpy().ravel().astype(int)
        y = out_data[0].asnumpy()
        y[np.arange(label.shape[0]), label] -= 1.0
        self.assign(in_grad[0], req[0], mx.nd.array(y))


@mx.operator.register("conformance_softmax")
class SoftmaxProp(mx.operator.CustomOpProp):
    def __init__(self):
        super().__init__(need_top_grad=False)

    def list_arguments(self):
        return ["data", "label"]

    def list_outputs(self):
        return ["output"]

    def infer_shape(self, in_shape):
        data_shape = in_shape[0]
        label_shape = (in_shape[0][0],)
        return [data_shape, label_shape], [data_shape], []

    def infer_type(self, in_type):
        return in_type, [in_type[0]], []

    def create_operator(self, ctx, shapes, dtypes):
        return Softmax()


def blobs(count, seed=0):
    rng = np.random.RandomState(seed)
    y = rng.randint(3, size=count)
    return rng.normal(size=(count, 6)) + 2.0 * np.eye(3, 6)[y], y


def main():
    mx.random.seed(2)
    data = mx.symbol.Variable("data")
    fc1 = mx.symbol.FullyConnected(data=data, name="fc1", num_hidden=16)
    act1 = mx.symbol.Activation(data=fc1, name="relu1", act_type="relu")
    fc2 = mx.symbol.FullyConnected(data=act1, name="fc2", num_hidden=3)
    mlp = mx.symbol.Custom(data=fc2, name="softmax", op_type="conformance_softmax")
    x, y = blobs(120)
    train = mx.io.NDArrayIter(x, y, 20, shuffle=True)
    model = mx.mod.Module(symbol=mlp, context=mx.cpu())
    model.fit(
        train_data=train,
        eval_data=mx.io.NDArrayIter(*blobs(60, 1), 20),
        optimizer="sgd",
        optimizer_params={"learning_rate": 0.1, "momentum": 0.9, "wd": 0.00001},
        num_epoch=6,
        batch_end_callback=mx.callback.Speedometer(20, 2),
    )
    return dict(model.score(mx.io.NDArrayIter(*blobs(60, 1), 20), "acc"))["accuracy"]


if __name__ == "__main__":
    print(main())
