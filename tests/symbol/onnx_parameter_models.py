"""Models, modules and verdicts for the tests of what ``sym.from_onnx`` trains."""

import numpy as np

import symbucket as sb
from symbucket import sym
from tests.symbol.onnx_models import draw, model, node

RATE = 0.05


def array(*values):
    return np.array(values, np.float32)


def verdicts(proto, **kwargs):
    _, report = sym.from_onnx(proto, report=True, **kwargs)
    return {d.name: d.verdict for d in report.decisions}


def operand(name, value, op="Add"):
    """y = (x W) op constant, over (n, 4) data."""
    weights = {"layer.weight": draw(1, w=(4, 4))["w"], name: value}
    nodes = [node("MatMul", "x layer.weight", "h0"), node("Tanh", "h0", "h")]
    nodes.append(node(op, f"h {name}", "y"))
    return model(nodes, [("x", ["n", 4])], [("y", ["n", 4])], weights)


def trained_module(proto, shape, data="x", **kwargs):
    symbol = sym.from_onnx(proto, name="net", **kwargs)
    module = sb.mod.Module(sym.MakeLoss(sym.sum(sym.square(symbol))), [data], [])
    module.bind([(data, shape)])
    module.init_params()
    module.init_optimizer(optimizer_params={"learning_rate": RATE, "rescale_grad": 1.0})
    return module


def fit(module, *batches):
    losses = []
    for batch in batches:
        module.forward_backward(sb.io.DataBatch([batch]))
        losses.append(module.get_outputs()[0].asnumpy().item())
        module.update()
    return losses


def values_of(module):
    return {n: a.asnumpy() for n, a in module.get_params()[0].items()}


def norms(shared, repeated=False):
    """Two products and normalizations; ``shared``: of one scale and shift, as after merging."""
    weights = draw(0, w1=(4, 4), w2=(4, 4))
    weights |= {"g1": np.ones(4, np.float32), "s1": np.zeros(4, np.float32)}
    if not shared:
        weights |= {"g2": np.ones(4, np.float32), "s2": np.zeros(4, np.float32)}
    second, other = ("1", "1") if shared else ("2", "2")
    nodes = [
        node("MatMul", "x w1", "a"),
        node("LayerNormalization", "a g1 s1", "b"),
        node("MatMul", f"b w{1 if repeated else other if not shared else 2}", "c"),
        node("LayerNormalization", f"c g{second} s{second}", "y"),
    ]
    if repeated:
        del weights["w2"]
    return model(nodes, [("x", ["n", 4])], [("y", ["n", 4])], weights)
