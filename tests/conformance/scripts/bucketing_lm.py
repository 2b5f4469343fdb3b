"""A bucketed language model with an iterator and a batch class of its own."""

import numpy as np

import symbucket as mx


class SimpleBatch:
    def __init__(self, data_names, data, label_names, label, bucket_key):
        self.data, self.label = data, label
        self.data_names, self.label_names = data_names, label_names
        self.bucket_key, self.pad, self.index = bucket_key, 0, None

    @property
    def provide_data(self):
        return [(n, x.shape) for n, x in zip(self.data_names, self.data)]

    @property
    def provide_label(self):
        return [(n, x.shape) for n, x in zip(self.label_names, self.label)]


class CountingIter(mx.io.DataIter):
    """Sequences that count upwards modulo the size of the vocabulary."""

    def __init__(self, buckets, batch_size, batches, vocab, init_states):
        super().__init__()
        self.buckets, self.batch_size, self.batches, self.vocab = (
            buckets,
            batch_size,
            batches,
            vocab,
        )
        self.init_states = init_states
        self.init_arrays = [mx.nd.zeros(shape) for _, shape in init_states]
        self.default_bucket_key = max(buckets)
        self.provide_data = [("data", (batch_size, self.default_bucket_key)), *init_states]
        self.provide_label = [("softmax_label", (batch_size, self.default_bucket_key))]

    def __iter__(self):
        rng = np.random.RandomState(0)
        for i in range(self.batches):
            length = self.buckets[i % len(self.buckets)]
            start = rng.randint(self.vocab, size=(self.batch_size, 1))
            data = (start + np.arange(length)) % self.vocab
            names = ["data"] + [n for n, _ in self.init_states]
            arrays = [mx.nd.array(data), *self.init_arrays]
            label = mx.nd.array((data + 1) % self.vocab)
            yield SimpleBatch(names, arrays, ["softmax_label"], [label], length)

    def reset(self):
        pass


def lstm(num_hidden, indata, prev_c, prev_h, param, seqidx):
    i2h = mx.sym.FullyConnected(
        data=indata,
        weight=param["i2h_weight"],
        bias=param["i2h_bias"],
        num_hidden=num_hidden * 4,
        name=f"t{seqidx}_i2h",
    )
    h2h = mx.sym.FullyConnected(
        data=prev_h,
        weight=param["h2h_weight"],
        bias=param["h2h_bias"],
        num_hidden=num_hidden * 4,
        name=f"t{seqidx}_h2h",
    )
    gates = mx.sym.SliceChannel(i2h + h2h, num_outputs=4, name=f"t{seqidx}_slice")
    in_gate = mx.sym.Activation(gates[0], act_type="sigmoid")
    transform = mx.sym.Activation(gates[1], act_type="tanh")
    forget_gate = mx.sym.Activation(gates[2], act_type="sigmoid")
    out_gate = mx.sym.Activation(gates[3], act_type="sigmoid")
    next_c = (forget_gate * prev_c) + (in_gate * transform)
    return next_c, out_gate * mx.sym.Activation(next_c, act_type="tanh")


def sym_gen_for(num_hidden, num_embed, vocab):
    def sym_gen(seq_len):
        names = ("i2h_weight", "i2h_bias", "h2h_weight", "h2h_bias")
        param = {n: mx.sym.Variable(f"l0_{n}") for n in names}
        c, h = mx.sym.Variable("l0_init_c"), mx.sym.Variable("l0_init_h")
        embed = mx.sym.Embedding(
            data=mx.sym.Variable("data"),
            input_dim=vocab,
            weight=mx.sym.Variable("embed_weight"),
            output_dim=num_embed,
            name="embed",
        )
        wordvec = mx.sym.SliceChannel(data=embed, num_outputs=seq_len, squeeze_axis=1)
        hidden_all = []
        for seqidx in range(seq_len):
            c, h = lstm(num_hidden, wordvec[seqidx], c, h, param, seqidx)
            hidden_all.append(h)
        hidden = mx.sym.Concat(*hidden_all, dim=0)
        pred = mx.sym.FullyConnected(data=hidden, num_hidden=vocab, name="pred")
        label = mx.sym.transpose(data=mx.sym.Variable("softmax_label"))
        label = mx.sym.Reshape(data=label, target_shape=(0,))
        net = mx.sym.SoftmaxOutput(data=pred, label=label, name="softmax")
        return net, ("data", "l0_init_c", "l0_init_h"), ("softmax_label",)

    return sym_gen


def perplexity(label, pred):
    label = label.T.reshape((-1,))
    loss = sum(-np.log(max(1e-10, pred[i][int(label[i])])) for i in range(pred.shape[0]))
    return np.exp(loss / label.size)


def main():
    mx.random.seed(1)
    init_states = [("l0_init_c", (4, 16)), ("l0_init_h", (4, 16))]
    data = CountingIter([4, 6], 4, 8, 10, init_states)
    model = mx.mod.BucketingModule(sym_gen_for(16, 8, 10), data.default_bucket_key)
    metric = mx.metric.np(perplexity)
    model.fit(
        train_data=data,
        eval_metric=metric,
        optimizer="adam",
        optimizer_params={"learning_rate": 0.05},
        initializer=mx.init.Xavier(factor_type="in", magnitude=2.34),
        num_epoch=6,
        batch_end_callback=mx.callback.Speedometer(4, 4),
    )
    return metric.get()[1]


if __name__ == "__main__":
    print(main())
