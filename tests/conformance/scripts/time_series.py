"""Convolution, a recurrent and a skipping branch over series, with metrics of one's own."""

import numpy as np

import symbucket as mx


def rse(label, pred):
    numerator = np.sqrt(np.mean(np.square(label - pred), axis=None))
    return numerator / np.std(label, axis=None)


def network(window, channels, num_filter, skip):
    x = mx.sym.Variable("data")
    y = mx.sym.Variable("softmax_label")
    conv_input = mx.sym.reshape(data=x, shape=(0, 1, window, -1))
    padded = mx.sym.pad(
        data=conv_input, mode="constant", constant_value=0, pad_width=(0, 0, 0, 0, 2, 0, 0, 0)
    )
    convi = mx.sym.Convolution(data=padded, kernel=(3, channels), num_filter=num_filter)
    acti = mx.sym.Activation(data=convi, act_type="relu")
    features = mx.sym.transpose(mx.sym.reshape(data=acti, shape=(0, 0, window)), axes=(0, 2, 1))
    cell = mx.rnn.GRUCell(num_hidden=6, prefix="gru_")
    outputs, _ = cell.unroll(length=window, inputs=features, merge_outputs=False)
    skipped_cell = mx.rnn.SequentialRNNCell()
    skipped_cell.add(mx.rnn.LSTMCell(num_hidden=4, prefix="skip_"))
    skipped_cell.add(mx.rnn.DropoutCell(0.1))
    skipped, _ = skipped_cell.unroll(length=window, inputs=features, merge_outputs=False)
    last = [outputs[-1], *(skipped[i] for i in range(window - 1, -1, -skip))]
    neural = mx.sym.FullyConnected(mx.sym.concat(*last, dim=1), num_hidden=channels)
    series = mx.sym.split(data=x, num_outputs=channels, axis=2, squeeze_axis=True)
    linear = [
        mx.sym.FullyConnected(mx.sym.slice_axis(s, axis=1, begin=-3, end=None), num_hidden=1)
        for s in series
    ]
    total = neural + mx.sym.concat(*linear, dim=1)
    return mx.sym.LinearRegressionOutput(data=total, label=y)


def main():
    mx.random.seed(11)
    t = np.arange(200)
    series = np.stack([np.sin(t / 3), np.cos(t / 5), np.sin(t / 4 + 1)], axis=1)
    window = 8
    x = np.stack([series[i : i + window] for i in range(160)])
    y = series[window : window + 160]
    train = mx.io.NDArrayIter(data=x, label=y, batch_size=16, shuffle=True)
    assert train.label[0][1].asnumpy().shape == (160, 3)
    model = mx.mod.Module(network(window, 3, 5, 3))
    model.bind(data_shapes=train.provide_data, label_shapes=train.provide_label)
    model.init_params(mx.init.Xavier())
    model.init_optimizer(optimizer="adam", optimizer_params={"learning_rate": 0.02})
    for _ in range(6):
        train.reset()
        for batch in train:
            model.forward(batch, is_train=True)
            model.backward()
            model.update()
    pred = model.predict(mx.io.NDArrayIter(data=x, label=y, batch_size=16)).asnumpy()
    return float(rse(y, pred))


if __name__ == "__main__":
    print(main())
