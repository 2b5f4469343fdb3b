"""Convolutions of several widths over embedded words, trained by hand through an executor."""

import collections

import numpy as np

import symbucket as mx

CNNModel = collections.namedtuple(
    "CNNModel", ["cnn_exec", "symbol", "data", "label", "param_blocks"]
)


def make_text_cnn(sentence_size, num_embed, vocab, filter_list, num_filter):
    input_x = mx.sym.Variable("data")
    input_y = mx.sym.Variable("softmax_label")
    embed = mx.sym.Embedding(
        data=input_x, input_dim=vocab, output_dim=num_embed, name="vocab_embed"
    )
    conv_input = mx.sym.Reshape(data=embed, target_shape=(0, 1, sentence_size, num_embed))
    pooled = []
    for size in filter_list:
        convi = mx.sym.Convolution(data=conv_input, kernel=(size, num_embed), num_filter=num_filter)
        relui = mx.sym.Activation(data=convi, act_type="relu")
        pooled.append(
            mx.sym.Pooling(
                data=relui, pool_type="max", kernel=(sentence_size - size + 1, 1), stride=(1, 1)
            )
        )
    concat = mx.sym.Concat(*pooled, dim=1)
    h_pool = mx.sym.Reshape(data=concat, target_shape=(0, num_filter * len(filter_list)))
    h_drop = mx.sym.Dropout(data=h_pool, p=0.2)
    fc = mx.sym.FullyConnected(h_drop, num_hidden=2, name="cls")
    return mx.sym.SoftmaxOutput(data=fc, label=input_y, name="softmax")


def main():
    mx.random.seed(7)
    batch, length, vocab = 20, 7, 12
    cnn = make_text_cnn(length, 6, vocab, [2, 3], 5)
    arg_names = cnn.list_arguments()
    input_shapes = {"data": (batch, length)}
    arg_shape, _, _ = cnn.infer_shape(**input_shapes)
    arg_arrays = [mx.nd.zeros(s, mx.cpu()) for s in arg_shape]
    args_grad = {
        name: mx.nd.zeros(shape, mx.cpu())
        for shape, name in zip(arg_shape, arg_names)
        if name not in ("softmax_label", "data")
    }
    cnn_exec = cnn.bind(ctx=mx.cpu(), args=arg_arrays, args_grad=args_grad, grad_req="add")
    arg_dict = dict(zip(arg_names, cnn_exec.arg_arrays))
    initializer = mx.initializer.Uniform(0.1)
    param_blocks = []
    for i, name in enumerate(arg_names):
        if name in ("softmax_label", "data"):
            continue
        initializer(mx.init.InitDesc(name), arg_dict[name])
        param_blocks.append((i, arg_dict[name], args_grad[name], name))
    model = CNNModel(
        cnn_exec, cnn, cnn_exec.arg_dict["data"], cnn_exec.arg_dict["softmax_label"], param_blocks
    )
    opt = mx.optimizer.create("rmsprop")
    opt.lr = 0.01
    updater = mx.optimizer.get_updater(opt)
    rng = np.random.RandomState(0)
    for _ in range(60):
        x = rng.randint(vocab, size=(batch, length))
        y = ((x[:, 1:] == 3) & (x[:, :-1] == 3)).any(1) | (x == 5).any(1)
        model.data[:], model.label[:] = x, y
        model.cnn_exec.forward(is_train=True)
        model.cnn_exec.backward()
        norm = 0
        for _, _, grad, _ in model.param_blocks:
            grad /= batch
            l2_norm = mx.nd.norm(grad).asscalar()
            norm += l2_norm * l2_norm
        norm = np.sqrt(norm)
        for idx, weight, grad, _ in model.param_blocks:
            if norm > 5.0:
                grad *= 5.0 / norm
            updater(idx, grad, weight)
            grad[:] = 0.0
    model.cnn_exec.forward(is_train=False)
    return float((model.cnn_exec.outputs[0].asnumpy().argmax(1) == y).mean())


if __name__ == "__main__":
    print(main())
