"""Noise-contrastive estimation: embeddings of a label and of noise, and logistic regression."""

import numpy as np

import symbucket as mx


def nce_loss(data, label, label_weight, embed_weight, vocab_size, num_hidden):
    label_embed = mx.sym.Embedding(
        data=label,
        input_dim=vocab_size,
        weight=embed_weight,
        output_dim=num_hidden,
        name="label_embed",
    )
    data = mx.sym.Reshape(data=data, shape=(-1, 1, num_hidden))
    pred = mx.sym.broadcast_mul(data, label_embed)
    pred = mx.sym.sum(data=pred, axis=2)
    return mx.sym.LogisticRegressionOutput(data=pred, label=label_weight)


class NceAuc(mx.metric.EvalMetric):
    """The share of batches' rows whose true label has the largest score."""

    def __init__(self):
        super().__init__("nce-first")

    def update(self, labels, preds):
        label_weight = labels[1].asnumpy()
        scores = preds[0].asnumpy()
        for i in range(label_weight.shape[0]):
            self.sum_metric += label_weight[i, scores[i].argmax()]
            self.num_inst += 1


class NceIter(mx.io.DataIter):
    def __init__(self, count, batch_size, vocab, feature, num_label):
        super().__init__(batch_size)
        self.count, self.vocab, self.feature, self.num_label = count, vocab, feature, num_label
        self.provide_data = [("data", (batch_size, feature))]
        self.provide_label = [
            ("label", (batch_size, num_label)),
            ("label_weight", (batch_size, num_label)),
        ]

    def __iter__(self):
        rng = np.random.RandomState(1)
        for _ in range(self.count):
            label = rng.randint(self.vocab, size=(self.batch_size, self.num_label))
            data = np.eye(self.feature)[label[:, 0]] + rng.normal(size=(1, self.feature)) * 0.1
            weight = np.zeros(label.shape)
            weight[:, 0] = 1
            arrays = [mx.nd.array(label), mx.nd.array(weight)]
            yield mx.io.DataBatch(data=[mx.nd.array(data)], label=arrays, pad=0, index=None)

    def reset(self):
        pass


def main():
    mx.random.seed(6)
    data, label = mx.sym.Variable("data"), mx.sym.Variable("label")
    label_weight = mx.sym.Variable("label_weight")
    embed_weight = mx.sym.Variable("embed_weight")
    pred = mx.sym.FullyConnected(data=data, num_hidden=12, name="fc")
    net = nce_loss(pred, label, label_weight, embed_weight, 10, 12)
    model = mx.mod.Module(net, label_names=["label", "label_weight"])
    metric = NceAuc()
    model.fit(
        NceIter(20, 16, 10, 10, 4),
        eval_metric=metric,
        num_epoch=6,
        optimizer="adam",
        optimizer_params={"learning_rate": 0.05},
        initializer=mx.init.Xavier(),
    )
    return metric.get()[1]


if __name__ == "__main__":
    print(main())
