"""An autoencoder by executors and an updater, without modules."""

import numpy as np

import symbucket as mx


def main():
    mx.random.seed(4)
    data = mx.symbol.Variable("data")
    encoded = mx.symbol.FullyConnected(data, num_hidden=3, name="encoder")
    encoded = mx.symbol.Activation(encoded, act_type="tanh")
    decoded = mx.symbol.FullyConnected(encoded, num_hidden=8, name="decoder")
    loss = mx.symbol.LinearRegressionOutput(decoded, data, name="loss")
    shapes = {"encoder_weight": (3, 8), "encoder_bias": (3,), "decoder_weight": (8, 3)}
    shapes["decoder_bias"] = (8,)
    args = {name: mx.nd.empty(shape) for name, shape in shapes.items()}
    grads = {name: mx.nd.zeros(shape) for name, shape in shapes.items()}
    init = mx.initializer.Xavier()
    for name, array in args.items():
        init(mx.init.InitDesc(name), array)
    args["other_layer_weight"] = mx.nd.zeros((5, 5))  # of a layer that is trained later
    optimizer = mx.optimizer.Adam(learning_rate=0.05)
    updater = mx.optimizer.get_updater(optimizer)
    x = np.random.RandomState(0).normal(size=(32, 3)).dot(np.eye(3, 8)).astype(np.float32)
    args["data"] = mx.nd.array(x)
    executor = loss.bind(mx.cpu(), args=args, args_grad=grads, grad_req="write")
    assert executor.outputs[0].shape == (32, 8)
    errors = []
    for _ in range(60):
        executor.forward(is_train=True)
        executor.backward()
        for i, name in enumerate(shapes):
            updater(i, grads[name], args[name])
        errors.append(float(((executor.outputs[0].asnumpy() - x) ** 2).mean()))
    internals = loss.get_internals()
    features = internals["activation0_output"].bind(mx.cpu(), args=args)
    assert features.forward()[0].shape == (32, 3)
    return errors[-1] / errors[0]


if __name__ == "__main__":
    print(main())
