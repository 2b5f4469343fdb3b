"""Numbers that batches, parameters and interrupted training must not change silently."""

import numpy as np
import pytest

import symbucket as sb
from symbucket.errors import DataError, ParameterError

rng = np.random.default_rng(0)
PARAMS = {
    "fc_weight": rng.standard_normal((3, 4)).astype(np.float32),
    "fc_bias": np.zeros(3, np.float32),
}


def _module(contexts=None):
    fc = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=3, name="fc")
    return sb.mod.Module(sb.sym.SoftmaxOutput(fc, name="softmax"), context=contexts)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.full((4, 4), 1e300), "float32 cannot hold.*1e\\+300"),
        (np.full((4, 4), 2**24 + 1), "float32 cannot hold.*16777217"),
        (np.full((4, 4), 1 + 2j), "complex128, not numbers as float32 holds"),
        (np.ma.masked_array(np.ones((4, 4)), mask=np.eye(4)), "masked array.*4 of its"),
    ],
)
@pytest.mark.parametrize("contexts", [None, [sb.cpu(0), sb.cpu(1)]])
def test_a_batch_that_the_input_cannot_hold_is_refused(values, text, contexts):
    module = _module(contexts)
    module.bind([("data", (4, 4))], [("softmax_label", (4,))])
    module.init_params(arg_params=PARAMS)
    good = sb.io.DataBatch([np.ones((4, 4))], [np.zeros(4, np.int64)])
    module.forward(good, is_train=True)
    first = module.get_outputs()[0].asnumpy()
    with pytest.raises(DataError, match=text):
        module.forward(sb.io.DataBatch([values], [np.zeros(4)]), is_train=True)
    module.forward(good, is_train=True)
    assert (module.get_outputs()[0].asnumpy() == first).all()


def test_a_batch_in_another_order_of_bytes_or_axes():
    module = _module()
    module.bind([("data", (4, 4))], for_training=False)
    module.init_params(arg_params=PARAMS)
    values = np.arange(16.0).reshape(4, 4)
    outputs = []
    for form in (values, values.astype(">f4"), np.asfortranarray(values), values.astype(np.int64)):
        module.forward(sb.io.DataBatch([form]))
        outputs.append(module.get_outputs()[0].asnumpy())
    assert all((output == outputs[0]).all() for output in outputs)


def test_masked_parameters_are_refused():
    module = _module()
    module.bind([("data", (4, 4))], [("softmax_label", (4,))])
    module.init_params(arg_params=PARAMS)
    masked = np.ma.masked_array(np.ones(3), mask=[True, False, False])
    with pytest.raises(ParameterError, match="masked array"):
        module.set_params({**PARAMS, "fc_bias": masked})
    assert (module.get_params()[0]["fc_bias"].asnumpy() == 0).all()


def test_gradients_of_a_run_that_was_broken_off_are_not_added():
    data = rng.standard_normal((40, 4)).astype(np.float32)
    labels = rng.integers(0, 3, 40)

    def train(module, **options):
        batches = sb.io.NDArrayIter(data, labels, 4)
        module.fit(
            batches, num_epoch=1, accumulate=4, arg_params=PARAMS, force_init=True, **options
        )

    def interrupt(param):
        if param.nbatch == 2:
            raise RuntimeError("stop")

    module, fresh = _module(), _module()
    with pytest.raises(RuntimeError, match="stop"):
        train(module, batch_end_callback=interrupt)
    train(module)
    train(fresh)
    for name, values in fresh.get_params()[0].items():
        assert (module.get_params()[0][name].asnumpy() == values.asnumpy()).all()


def test_predict_returns_the_dtype_of_the_outputs():
    module = sb.mod.Module(sb.sym.Variable("data") * 2.0, label_names=None)
    desc = sb.io.DataDesc("data", (4, 2), np.float64)
    module.bind([desc], for_training=False)
    module.init_params()

    class Batches(sb.io.DataIter):
        provide_data, provide_label = [desc], []

        def reset(self):
            self.left = 2

        def next(self):
            if not self.left:
                raise StopIteration
            self.left -= 1
            return sb.io.DataBatch([np.full((4, 2), 1e200)], pad=self.left)

    values = module.predict(Batches(4)).asnumpy()
    assert values.dtype == np.float64
    assert (values == np.full((7, 2), 2e200)).all()
