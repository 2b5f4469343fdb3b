"""A character model with the cells of mx.rnn, and inference step by step from its parameters."""

import numpy as np

import symbucket as mx


def network(seq_len, vocab, num_hidden):
    stack = mx.rnn.SequentialRNNCell()
    for i in range(2):
        stack.add(mx.rnn.LSTMCell(num_hidden=num_hidden, prefix=f"lstm_l{i}_"))
    data, label = mx.sym.Variable("data"), mx.sym.Variable("softmax_label")
    embed = mx.sym.Embedding(data=data, input_dim=vocab, output_dim=6, name="embed")
    outputs, _ = stack.unroll(seq_len, inputs=embed, merge_outputs=True)
    pred = mx.sym.Reshape(outputs, shape=(-1, num_hidden))
    pred = mx.sym.FullyConnected(data=pred, num_hidden=vocab, name="pred")
    label = mx.sym.Reshape(label, shape=(-1,))
    return mx.sym.SoftmaxOutput(data=pred, label=label, name="softmax")


class InferenceModel:
    """One step of the network; its states are copied from its outputs to its arguments."""

    def __init__(self, vocab, num_hidden, arg_params):
        stack = mx.rnn.SequentialRNNCell()
        for i in range(2):
            stack.add(mx.rnn.LSTMCell(num_hidden=num_hidden, prefix=f"lstm_l{i}_"))
        states = [mx.sym.Variable(f"state{i}") for i in range(4)]
        embed = mx.sym.Embedding(
            mx.sym.Variable("data"), input_dim=vocab, output_dim=6, name="embed"
        )
        step = mx.sym.Reshape(embed, shape=(-1, 6))
        output, after = stack(step, states)
        pred = mx.sym.FullyConnected(output, num_hidden=vocab, name="pred")
        net = mx.sym.Group([mx.sym.SoftmaxActivation(pred), *map(mx.sym.BlockGrad, after)])
        shapes = {f"state{i}": (1, num_hidden) for i in range(4)}
        self.executor = net.simple_bind(ctx=mx.cpu(), grad_req="null", data=(1,), **shapes)
        for key in self.executor.arg_dict:
            if key in arg_params:
                arg_params[key].copyto(self.executor.arg_dict[key])
        self.states_dict = dict(zip(sorted(shapes), self.executor.outputs[1:]))

    def forward(self, symbol, new_seq=False):
        if new_seq:
            for key in self.states_dict:
                self.executor.arg_dict[key][:] = 0.0
        self.executor.arg_dict["data"][:] = symbol
        self.executor.forward()
        for key in self.states_dict:
            self.states_dict[key].copyto(self.executor.arg_dict[key])
        return self.executor.outputs[0].asnumpy()


def main():
    mx.random.seed(8)
    text = np.array([0, 1, 2, 3, 4, 3, 2, 1] * 40)
    x, y = text[:-1][:312].reshape(-1, 8), text[1:][:312].reshape(-1, 8)
    train = mx.io.NDArrayIter(x, y, 13)
    module = mx.mod.Module(network(8, 5, 12))
    module.fit(
        train,
        eval_metric=mx.metric.Perplexity(None),
        num_epoch=15,
        optimizer="adam",
        optimizer_params={"learning_rate": 0.03},
        initializer=mx.init.Xavier(),
    )
    model = InferenceModel(5, 12, module.get_params()[0])
    probabilities = [model.forward(c, new_seq=i == 0)[0] for i, c in enumerate(x[0])]
    whole = module.predict(mx.io.NDArrayIter(x[:13], y[:13], 13)).asnumpy()[:8]
    assert np.allclose(probabilities, whole, atol=1e-5)
    return float((np.argmax(probabilities, 1)[2:] == y[0][2:]).mean())


if __name__ == "__main__":
    print(main())
