"""A language model with states that go on, a loss by MakeLoss, and gradients clipped by hand."""

import math

import numpy as np

import symbucket as mx


def network(bptt, vocab, num_hid, batch_size):
    data = mx.sym.Variable("data")
    embed = mx.sym.Embedding(data, input_dim=vocab, output_dim=num_hid, name="embed")
    states, outputs = [], embed
    cell = mx.rnn.LSTMCell(num_hidden=num_hid, prefix="lstm_0_")
    state_shape = (batch_size, num_hid)
    begin = [mx.sym.var(f"lstm_init_{i}", shape=state_shape) for i in range(2)]
    outputs, states = cell.unroll(
        bptt, inputs=outputs, begin_state=begin, merge_outputs=True, layout="TNC"
    )
    pred = mx.sym.FullyConnected(
        mx.sym.Reshape(outputs, shape=(-1, num_hid)), num_hidden=vocab, name="pred"
    )
    label = mx.sym.Reshape(mx.sym.Variable("label"), shape=(-1,))
    loss = -mx.sym.sum(mx.sym.log_softmax(pred) * mx.sym.one_hot(label, vocab), axis=1)
    loss = mx.sym.MakeLoss(loss, name="nll")
    return mx.sym.Group([mx.sym.BlockGrad(s) for s in states] + [loss]), [b.name for b in begin]


class CustomStatefulModule:
    def __init__(self, loss, state_names):
        self._module = mx.mod.Module(loss, label_names=["label"], state_names=state_names)
        self._next_states = None

    def forward(self, batch, is_train=True):
        if self._next_states is not None:
            self._module.set_states(states=self._next_states)
        self._module.forward(batch, is_train=is_train)
        outputs = self._module.get_outputs(merge_multi_context=False)
        self._next_states = outputs[:-1]
        return outputs[-1]

    def update(self, max_norm):
        grads = [g for per_ctx in self._module._exec_group.grad_arrays for g in per_ctx]
        total = math.sqrt(sum(float((g * g).sum().asscalar()) for g in grads))
        if total > max_norm:
            for g in grads:
                g *= max_norm / total
        self._module.update()


def main():
    mx.random.seed(10)
    bptt, batch_size, vocab = 6, 4, 8
    loss, state_names = network(bptt, vocab, 12, batch_size)
    module = CustomStatefulModule(loss, state_names)
    inner = module._module
    inner.bind([("data", (bptt, batch_size))], [("label", (bptt, batch_size))])
    inner.init_params(mx.init.Xavier())
    inner.set_states(value=0)
    inner.init_optimizer(
        optimizer="adam", optimizer_params={"learning_rate": 0.05, "rescale_grad": 1 / 24}
    )
    text = (np.arange(40 * bptt + 1)[:, None] * np.array([1, 1, 3, 3])[None]) % vocab
    losses = []
    for i in range(40):
        part = text[i * bptt : (i + 1) * bptt + 1]
        batch = mx.io.DataBatch(data=[mx.nd.array(part[:-1])], label=[mx.nd.array(part[1:])])
        out = module.forward(batch)
        losses.append(out[0].asnumpy().mean())
        inner.backward()
        module.update(5.0)
    return float(math.exp(np.mean(losses[-5:])))


if __name__ == "__main__":
    print(main())
