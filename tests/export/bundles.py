"""Bundles that many tests read."""

import hashlib
import json

import numpy as np

import symbucket as sb
from symbucket import sym
from tests.small_networks import bucketing, shapes


def trained(keys=(4, 6, 9), rows=4, default=None):
    """A module of language models whose keys are bound in this order."""
    module = bucketing(default=default or max(keys), rows=rows)
    for key in keys:
        module.switch_bucket(key, *shapes(key, rows))
    return module


def probabilities(module, tokens, key, rows=4, vocab=10):
    """What the module itself says to one sentence in a bucket: (length, vocab)."""
    data = np.zeros((rows, key))
    data[0, : len(tokens)] = tokens
    batch = sb.io.DataBatch(
        [data],
        bucket_key=key,
        provide_data=[("data", (rows, key))],
        provide_label=[("softmax_label", (rows, key))],
    )
    module.forward(batch, is_train=False)
    return module.get_outputs()[0].asnumpy().reshape(rows, key, vocab)[0, : len(tokens)]


def sentences(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 10, n) for n in lengths]


def edit(folder, change, resum=()):
    """Change a bundle's manifest; ``resum`` are files whose size and checksum are taken anew."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    for entry in [document["parameters"], *document.get("networks", [])] if resum else []:
        if entry["file"] in resum:
            content = (folder / entry["file"]).read_bytes()
            entry["bytes"] = len(content)
            entry["sha256"] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(document))


def bound(symbol, data_shapes, label_shapes=None, key="net", **kwargs):
    """A bucketing module with one key."""
    module = sb.mod.BucketingModule(
        lambda _: (symbol, [d[0] for d in data_shapes], [d[0] for d in label_shapes or []]),
        default_bucket_key=key,
        **kwargs,
    )
    module.bind(data_shapes, label_shapes)
    module.init_params(sb.init.Uniform(0.5))
    return module


def image_network(size):
    """(n, 2, h, w) -> scores for each pixel, (n, 3, h, w), and for the image, (n, 3)."""
    x = sym.Convolution(sym.Variable("image"), kernel=(3, 3), pad=(1, 1), num_filter=3, name="conv")
    whole = sym.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="max", name="pool")
    pixels = sym.Activation(x, act_type="relu", name="pixels")
    return sym.Group([pixels, sym.Flatten(whole, name="flat")]), ("image",), ()
