"""Random networks, bundles and requests: an answer is what numpy computes of its request alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym
from symbucket.serve import Batcher, Request

DTYPES = ("float32", "float64", "int32", "uint8", "bool")


class Case:
    """A network of a few inputs and outputs, drawn once; numpy computes the same of one request."""

    def __init__(self, rng):
        self.batch = int(rng.integers(1, 6))
        sizes = sorted(rng.choice(np.arange(2, 11), 3, replace=False).tolist())
        self.pairs = rng.random() < 0.3
        self.keys = list(zip(sizes, sizes[::-1])) if self.pairs else sizes
        self.batch_axis = int(not self.pairs and rng.random() < 0.3)
        self.features = (3,) if rng.random() < 0.5 else ()
        extras = [("number", ()), ("table", (2, 3)), ("shared", (1,))]
        self.extras = dict(extra for extra in extras if rng.random() < 0.6)
        self.dtypes = {name: str(rng.choice(DTYPES)) for name in ("x", *self.extras)}
        picked = [name for name in self.outputs() if rng.random() < 0.6]
        self.picked = picked or ["steps"]

    def outputs(self):
        """The outputs that there could be."""
        joined = ["joined"] if not (self.batch_axis or self.pairs) else []
        return ["steps", "sum", "largest", *joined, *self.extras]

    def descs(self, key):
        """What a batch of a key looks like."""
        sizes = (*key, *self.features) if self.pairs else (key, *self.features)
        shape = [*sizes[: self.batch_axis], self.batch, *sizes[self.batch_axis :]]
        layout = "TN" + "C" * len(self.features) if self.batch_axis else "N" + "X" * len(sizes)
        descs = [sb.io.DataDesc("x", tuple(shape), self.dtypes["x"], layout)]
        for name, size in self.extras.items():
            own = () if name == "shared" else (self.batch,)
            layout = "X" if name == "shared" else "N" + "X" * len(size)
            descs.append(sb.io.DataDesc(name, (*own, *size), self.dtypes[name], layout))
        return descs

    def network(self, key):
        """The symbol of a key."""
        x = sym.cast(sym.Variable("x"), dtype="float32")
        rank = 1 + (2 if self.pairs else 1) + len(self.features)
        others = tuple(axis for axis in range(rank) if axis != self.batch_axis)
        heads = {
            "steps": sym.tanh(x * 0.5),
            "sum": sym.sum(x, axis=others),
            "largest": sym.cast(sym.max(x, axis=others), dtype="int32"),
            "joined": sym.Reshape(x * 2.0, shape=(-1, *self.features)),
        }
        inputs = {name: sym.cast(sym.Variable(name), dtype="float32") for name in self.extras}
        for name, value in inputs.items():
            total = sym.sum(value, axis=(1, 2)) if name == "table" else value
            heads[name] = sym.broadcast_add(sym.broadcast_mul(heads["sum"], total), total)
        group = sym.Group([sym.identity(heads[name], name=name) for name in self.picked])
        names = [desc.name for desc in self.descs(key)]
        return group, [name for name in names if name in group.list_arguments()], []

    def request(self, rng, names):
        """Arrays of one sample, in memory of any layout, and of a dtype that holds as much."""
        key = self.keys[int(rng.integers(len(self.keys)))]
        sizes = [int(rng.integers(1, size + 1)) for size in (key if self.pairs else (key,))]
        shapes = {"x": (*sizes, *self.features), **self.extras}
        return {name: array_of(rng, shapes[name], self.dtypes[name]) for name in names}

    def expected(self, request):
        """The answer to a request, by the names of outputs."""
        x = np.asarray(request["x"], np.float32)
        answer = {
            "steps": np.tanh(x * 0.5),
            "sum": x.sum(),
            "largest": np.int32(max(x.max(), 0)),  # padding is zero
            "joined": x * 2,
        }
        for name in self.extras:
            if name in request:
                total = np.asarray(request[name], np.float32).sum()
                answer[name] = x.sum() * total + total
        return {f"{name}_output": answer[name] for name in self.picked}


def array_of(rng, shape, dtype):
    """An array of small integers."""
    values = rng.integers(0, 2 if dtype == "bool" else 9, shape)
    given = str(rng.choice([dtype, "int64", "float64", "uint8", ">i2"]))
    form = rng.integers(4)
    if form == 0:
        return values.tolist()
    if form == 1 and shape:
        return np.repeat(values, 2, axis=0).astype(given)[::-2][::-1]
    return np.array(values, given, order="F" if form == 2 else "C")


def serve(seed, folder):
    """Serve a random bundle in several ways, and compare each answer."""
    rng = np.random.default_rng(seed)
    case = Case(rng)
    module = sb.mod.BucketingModule(case.network, case.keys[-1])
    names = case.network(case.keys[-1])[1]

    def descs(key):
        return [desc for desc in case.descs(key) if desc.name in names]

    module.bind(descs(case.keys[-1]), for_training=False)
    module.init_params()
    for key in case.keys[:-1]:
        module.switch_bucket(key, descs(key))
    free = ["dynamic_batch"] if case.pairs else ["dynamic_batch", "dynamic_length"]
    module.export(folder, **dict.fromkeys(rng.permutation(free)[: rng.integers(2)], True))
    bundle = sb.Bundle(folder, workers=int(rng.integers(1, 4)))
    requests = [case.request(rng, names) for _ in range(40)]

    def compare(picked, answers):
        for number, answer in zip(picked, answers, strict=True):
            for name, right in case.expected(requests[number]).items():
                text = f"seed {seed}, request {number}, {name}"
                assert answer[name].shape == np.shape(right), text
                np.testing.assert_allclose(answer[name], right, rtol=1e-5, err_msg=text)

    batcher = Batcher(bundle, max_delay=0.001)

    def client(number):
        draw = np.random.default_rng([seed, number])
        for _ in range(4):
            picked = draw.integers(len(requests), size=draw.integers(1, 40))
            asked = [requests[i] for i in picked]
            if draw.random() < 0.5:
                compare(picked, bundle.run([Request(one) for one in asked]))
            else:
                futures = [batcher.submit(one, timeout=60) for one in asked]
                compare(picked, [future.result(60) for future in futures])

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(client, number) for number in range(3)]:
            future.result()
    compare(range(len(requests)), [bundle(one) for one in requests])
    batcher.close()
    bundle.close()


def test_random_bundles(tmp_path):
    for seed in range(4):
        serve(seed, tmp_path / str(seed))


@pytest.mark.fuzz
@pytest.mark.slow
def test_many_random_bundles(tmp_path, seed):
    for number in range(seed + 100, seed + 130):
        serve(number, tmp_path / str(number))
