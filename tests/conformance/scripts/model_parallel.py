"""Layers with attributes of groups of contexts, bound by group2ctx, and a frozen layer."""

import numpy as np

import symbucket as mx


def main():
    mx.random.seed(9)
    with mx.AttrScope(ctx_group="embed"):
        data = mx.sym.Variable("data")
        embed_weight = mx.sym.Variable("embed_weight")
        hidden = mx.sym.FullyConnected(data, weight=embed_weight, num_hidden=6, name="embed")
    with mx.AttrScope(ctx_group="layer1", lr_mult="0"):
        hidden = mx.sym.FullyConnected(hidden, num_hidden=6, name="frozen")
    with mx.AttrScope(ctx_group="decode"):
        net = mx.sym.FullyConnected(hidden, num_hidden=3, name="pred")
        net = mx.sym.SoftmaxOutput(net, name="sm")
    assert net.attr_dict()["pred"]["__ctx_group__"] == "decode"
    group2ctx = dict.fromkeys(("embed", "layer1", "decode"), mx.cpu())
    names = net.list_arguments()
    shapes, _, _ = net.infer_shape(data=(8, 4))
    arrays = [mx.nd.zeros(shape) for shape in shapes]
    rng = np.random.RandomState(0)
    for name, array in zip(names, arrays):
        if name.endswith("weight"):
            array[:] = rng.normal(size=array.shape) * 0.3
    grads = {n: mx.nd.zeros(s) for n, s in zip(names, shapes) if n.endswith(("weight", "bias"))}
    executor = net.bind(
        mx.cpu(), args=arrays, args_grad=grads, grad_req="write", group2ctx=group2ctx
    )
    optimizer = mx.optimizer.create(
        "sgd", learning_rate=0.3, sym=net, param_idx2name=dict(enumerate(names))
    )
    updater = mx.optimizer.get_updater(optimizer)
    frozen = executor.arg_dict["frozen_weight"].asnumpy()
    executor.arg_dict["data"][:] = rng.normal(size=(8, 4))
    executor.arg_dict["sm_label"][:] = rng.randint(3, size=8)
    losses = []
    for _ in range(30):
        executor.forward(is_train=True)
        prob = executor.outputs[0]
        label = executor.arg_dict["sm_label"]
        losses.append(-np.log(mx.nd.pick(prob, label, axis=1).asnumpy()).mean())
        executor.backward()
        for i, name in enumerate(names):
            if name in grads:
                updater(i, executor.grad_dict[name], executor.arg_dict[name])
    assert np.array_equal(executor.arg_dict["frozen_weight"].asnumpy(), frozen)
    assert not np.array_equal(executor.arg_dict["embed_weight"].asnumpy(), 0)
    return float(losses[-1] / losses[0])


if __name__ == "__main__":
    print(main())
