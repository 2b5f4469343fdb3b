"""A detector with one head (priors, targets, two losses, detections), trained on boxes."""

import numpy as np

import symbucket as mx

CLASSES, BOXES = 3, 3
VARIANCES = (0.1, 0.1, 0.2, 0.2)


def convolution(data, filters, name, stride=1):
    return mx.sym.Convolution(
        data, kernel=(3, 3), pad=(1, 1), stride=(stride, stride), num_filter=filters, name=name
    )


def network():
    data, label = mx.sym.Variable("data"), mx.sym.Variable("label")
    features = mx.sym.Activation(convolution(data, 8, "features", 2), act_type="relu")
    moves = mx.sym.transpose(convolution(features, 4 * BOXES, "moves"), axes=(0, 2, 3, 1))
    moves = mx.sym.Flatten(moves)
    scores = mx.sym.transpose(convolution(features, CLASSES * BOXES, "scores"), axes=(0, 2, 3, 1))
    scores = mx.sym.Reshape(scores, shape=(0, -1, CLASSES))
    scores = mx.sym.transpose(scores, axes=(0, 2, 1))
    priors = mx.sym.contrib.MultiBoxPrior(features, sizes=(0.3, 0.5), ratios=(1, 2), clip=True)
    target, mask, classes = mx.sym.contrib.MultiBoxTarget(
        priors,
        label,
        scores,
        overlap_threshold=0.4,
        negative_mining_ratio=3,
        negative_mining_thresh=0.4,
        variances=VARIANCES,
    )
    probabilities = mx.sym.SoftmaxOutput(
        scores,
        classes,
        ignore_label=-1,
        use_ignore=True,
        multi_output=True,
        normalization="valid",
        name="classes",
    )
    away = mx.sym.smooth_l1(mask * (moves - target), scalar=1.0)
    distance = mx.sym.MakeLoss(away, normalization="valid", name="distance")
    detected = mx.sym.contrib.MultiBoxDetection(
        probabilities, moves, priors, nms_threshold=0.45, variances=VARIANCES
    )
    return mx.sym.Group([probabilities, distance, mx.sym.BlockGrad(detected)])


def overlap(a, b):
    """The area that two boxes share over the one that they cover."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.prod(np.maximum(high - low, 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def main():
    rng = np.random.RandomState(0)
    module = mx.mod.Module(network(), label_names=("label",))
    module.bind([("data", (8, 1, 16, 16))], [("label", (8, 1, 5))])
    args = module._exec_group.execs[0].arg_dict
    module.init_params(
        arg_params={
            name: mx.nd.array(rng.uniform(-0.2, 0.2, array.shape))
            for name, array in args.items()
            if name not in ("data", "label")
        },
        aux_params={},
    )
    module.init_optimizer(
        optimizer_params={"learning_rate": 0.05, "momentum": 0.9, "rescale_grad": 1.0}
    )
    for _ in range(60):
        images, labels = np.zeros((8, 1, 16, 16)), np.zeros((8, 1, 5))
        for image, label in zip(images[:, 0], labels[:, 0]):
            size = rng.randint(5, 9)
            x, y, kind = rng.randint(0, 16 - size), rng.randint(0, 16 - size), rng.randint(0, 2)
            image[y : y + size, x : x + size] = 1 - 2 * kind
            label[:] = [kind, x / 16, y / 16, (x + size) / 16, (y + size) / 16]
        batch = mx.io.DataBatch([mx.nd.array(images)], [mx.nd.array(labels)])
        module.forward(batch)
        module.backward()
        module.update()
    module.forward(batch, is_train=False)
    best = module.get_outputs()[2].asnumpy()[:, 0]
    right = [
        box[0] == label[0, 0] and overlap(box[2:], label[0, 1:]) > 0.5
        for box, label in zip(best, labels)
    ]
    return float(np.mean(right))
