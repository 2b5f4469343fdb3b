"""Automatic names, prefixes and attribute scopes."""

import asyncio
import threading

import pytest

import symbucket as sb
from symbucket import sym
from symbucket.errors import InvalidArgumentError


def test_automatic_names_count_by_operator():
    x = sym.Variable("x")
    names = [sym.FullyConnected(x, num_hidden=1).name for _ in range(2)]
    assert names == ["fullyconnected0", "fullyconnected1"]
    assert sym.Activation(x, act_type="relu").name == "activation0"


def test_arithmetic_has_the_names_of_mxnet():
    x, y = sym.Variable("x"), sym.Variable("y")
    made = [x + y, x + 1, 1 - x, x * 2, x / y, x**2, x - y]
    assert [s.name for s in made] == [
        "_plus0", "_plusscalar0", "_rminusscalar0", "_mulscalar0", "_div0", "_powerscalar0",
        "_minus0",
    ]  # fmt: skip


def test_missing_parameters_are_named_after_their_node():
    net = sym.FullyConnected(sym.Variable("data"), num_hidden=3, name="fc")
    assert net.list_arguments() == ["data", "fc_weight", "fc_bias"]
    assert net.list_outputs() == ["fc_output"]


def test_name_manager_starts_counting_anew_and_the_outer_one_goes_on():
    x = sym.Variable("x")
    assert sym.relu(x).name == "relu0"
    with sb.NameManager():
        assert sym.relu(x).name == "relu0"
    assert sym.relu(x).name == "relu1"


def test_prefix_stands_before_given_and_automatic_names_but_not_before_variables():
    with sb.Prefix("left_"):
        net = sym.FullyConnected(sym.Variable("data"), num_hidden=1, name="fc")
        assert net.list_arguments() == ["data", "left_fc_weight", "left_fc_bias"]
        assert sym.relu(net).name == "left_relu0"


def test_scopes_are_left_when_the_block_fails():
    with pytest.raises(KeyError), sb.Prefix("p_"), sb.AttrScope(__a__="1"):
        raise KeyError
    made = sym.relu(sym.Variable("x"))
    assert made.name == "relu0"
    assert made.attr("__a__") is None


def test_a_custom_name_manager_names_everything():
    class Shouting(sb.NameManager):
        def get(self, name, hint):
            return super().get(name, hint).upper()

    with Shouting():
        assert sym.relu(sym.Variable("x")).name == "RELU0"


def test_attribute_scopes_nest_and_inner_ones_win():
    with sb.AttrScope(__a__="outer", __b__="outer"):
        with sb.AttrScope(__b__="inner"):
            inner = sym.Variable("v")
        outer = sym.Variable("w")
    after = sym.Variable("u")
    assert inner.list_attr() == {"__a__": "outer", "__b__": "inner"}
    assert outer.list_attr() == {"__a__": "outer", "__b__": "outer"}
    assert after.list_attr() == {}


def test_an_attribute_given_at_the_symbol_wins_over_the_scope():
    with sb.AttrScope(__lr_mult__="0.1"):
        assert sym.Variable("v", lr_mult=2.0).attr("__lr_mult__") == "2.0"
        assert sym.Variable("w").attr("__lr_mult__") == "0.1"


def test_parameters_that_a_node_makes_carry_its_hidden_attributes():
    with sb.AttrScope(__lr_mult__="0.1"):
        net = sym.FullyConnected(sym.Variable("data"), num_hidden=1, name="fc")
    assert net.attr_dict()["fc_weight"] == {"__lr_mult__": "0.1", "lr_mult": "0.1"}


def test_one_scope_object_can_be_entered_again():
    scope = sb.AttrScope(__a__="1")
    for _ in range(2):
        with scope:
            assert sym.Variable("v").attr("__a__") == "1"
    with scope, scope:
        pass
    assert sym.Variable("v").attr("__a__") is None


def test_attribute_scope_refuses_what_is_no_string():
    with pytest.raises(InvalidArgumentError, match=r"must be a string, as in AttrScope\(a='1'\)"):
        sb.AttrScope(a=1)


def test_one_name_manager_can_be_entered_again():
    manager = sb.NameManager()
    with manager, manager:
        assert sym.relu(sym.Variable("x")).name == "relu0"
    with manager:
        assert sym.relu(sym.Variable("x")).name == "relu1"
    assert sym.relu(sym.Variable("x")).name == "relu0"


def test_asyncio_tasks_do_not_see_each_others_scopes():
    symbols = {}

    async def work(key, entered, both):
        with sb.AttrScope(__k__=key), sb.Prefix(f"{key}_"):
            entered.set()
            await both.wait()  # the other task is inside its scopes too
            node = sym.relu(sym.Variable("x"))
            symbols[key] = node.name, node.attr("__k__")

    async def main():
        both, events = asyncio.Event(), [asyncio.Event(), asyncio.Event()]
        tasks = [asyncio.create_task(work(k, e, both)) for k, e in zip("ab", events)]
        for event in events:
            await event.wait()
        both.set()
        await asyncio.gather(*tasks)
        return sym.relu(sym.Variable("x")).attr("__k__")

    assert asyncio.run(main()) is None
    assert symbols == {"a": ("a_relu0", "a"), "b": ("b_relu0", "b")}


def test_threads_have_their_own_scopes_and_counters():
    found = {}

    def work(key, barrier):
        barrier.wait()
        with sb.AttrScope(__k__=key), sb.Prefix(f"{key}_"):
            barrier.wait()  # both threads are inside their scopes now
            made = sym.relu(sym.Variable("x"))
            found[key] = made.name, made.attr("__k__")

    sym.relu(sym.Variable("x"))
    barrier = threading.Barrier(2)
    with sb.AttrScope(__k__="main"):
        threads = [threading.Thread(target=work, args=(k, barrier)) for k in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {"a": ("a_relu0", "a"), "b": ("b_relu0", "b")}
    assert sym.relu(sym.Variable("x")).name == "relu1"
