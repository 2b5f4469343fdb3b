"""None as an attribute, positions outside, errors in operators of one's own."""

from __future__ import annotations

import numpy as np
import pytest

import symbucket as sb

X = np.array([[3.0, 1.0], [2.0, 4.0]], np.float32)


def test_none_is_a_value_and_not_the_default():
    x, array = sb.sym.Variable("x"), sb.nd.array(X)
    assert sb.sym.sort(x, axis=None).eval(x=array)[0].asnumpy().tolist() == [1.0, 2.0, 3.0, 4.0]
    assert sb.nd.argsort(array, axis=None).asnumpy().tolist() == [1.0, 2.0, 0.0, 3.0]
    assert sb.nd.topk(array, axis=None, k=3, ret_typ="value").asnumpy().tolist() == [4.0, 3.0, 2.0]
    assert array.sort(axis=None).shape == (4,)
    assert sb.sym.load_json(sb.sym.sort(x, axis=None).tojson()).infer_shape(x=(2, 3))[1] == [(6,)]


def test_computed_positions_outside_are_index_errors():
    ids = sb.sym.BlockGrad(sb.sym.Variable("ids"))
    taken = sb.sym.take(sb.sym.Variable("x"), ids, mode="raise")
    assert taken.eval(x=sb.nd.array(X), ids=sb.nd.array([1]))[0].asnumpy().tolist() == [[2.0, 4.0]]
    for outside in (2, -1):
        with pytest.raises(IndexError) as caught:
            taken.eval(x=sb.nd.array(X), ids=sb.nd.array([outside]))
        assert isinstance(caught.value, sb.MXNetError)
    with pytest.raises(IndexError, match="keep them inside"):
        sb.nd.gather_nd(sb.nd.array(X), sb.nd.array([[0, 1], [0, 2]]))


def test_an_error_in_an_operator_of_ones_own_is_an_mxnet_error():
    class Wrong(sb.operator.CustomOp):
        def forward(self, is_train, req, in_data, out_data, aux):
            raise KeyError("nothing here")

    @sb.operator.register("conformance_wrong")
    class WrongProp(sb.operator.CustomOpProp):
        def create_operator(self, ctx, shapes, dtypes):
            return Wrong()

    with pytest.raises(sb.MXNetError, match=r"forward raised KeyError: 'nothing here'") as caught:
        sb.nd.Custom(sb.nd.zeros((2,)), op_type="conformance_wrong")
    assert isinstance(caught.value.__cause__, KeyError)


def test_what_monitors_see_has_mxnets_order():
    data = sb.sym.Variable("data", shape=(2, 3))
    twice = sb.sym.concat(data, data, dim=0, name="concat")
    dense = sb.sym.FullyConnected(data, num_hidden=2, name="fc")
    for symbol, expected in (
        (twice, ["data", "concat_arg0", "data", "concat_arg1", "concat_output"]),
        (
            dense,
            ["data", "fc_data", "fc_weight", "fc_weight", "fc_bias", "fc_bias", "fc_output"],
        ),
    ):
        names: list[str] = []
        executor = symbol.simple_bind(sb.cpu(), grad_req="null")
        executor.set_monitor_callback(lambda name, _, seen=names: seen.append(name), True)
        executor.forward()
        assert names == expected


def test_a_split_without_cuts_is_one_part_and_a_sample_has_the_shape_of_its_parameters():
    whole = sb.sym.split_v2(sb.sym.Variable("x"), indices_or_sections=(), axis=0)
    assert whole.infer_shape(x=(3, 2))[1] == [(3, 2)]
    mu, sigma = sb.nd.array([10.0]), sb.nd.array([0.5])
    assert sb.nd.sample_normal(mu=mu, sigma=sigma).shape == (1,)
    assert sb.nd.sample_normal(mu=mu, sigma=sigma, shape=1).shape == (1, 1)
    assert sb.nd.sample_normal(mu, sigma, shape=(2,)).shape == (1, 2)
