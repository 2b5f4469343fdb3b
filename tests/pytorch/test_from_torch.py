"""``sym.from_torch``: modules of PyTorch as symbols, and what of them is refused."""

import copy

import numpy as np
import pytest

import symbucket as sb
from symbucket import sym

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402

from symbucket.errors import (  # noqa: E402
    InvalidArgumentError,
    ParameterError,
    SymbucketError,
    UnsupportedError,
)
from tests.pytorch.networks import CNN, GPT2, Encoder, Recurrent  # noqa: E402
from tests.pytorch.trainer import Trainer  # noqa: E402
from tests.pytorch.training import train_torch  # noqa: E402


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _head(scores):
    return sym.SoftmaxOutput(scores, normalization="batch", name="softmax")


def test_names_values_and_what_is_fixed_are_the_modules():
    module = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Linear(4, 2))
    module[2].weight = nn.Parameter(module[2].weight.detach(), requires_grad=False)
    symbol, report = sym.from_torch(module, torch.randn(5, 3), fixed="3.bias", report=True)
    assert symbol.list_arguments() == "input 0.weight 0.bias 2.bias 3.weight".split()
    assert symbol.list_outputs() == ["torch_output"]
    assert {"2.weight", "3.bias"} <= set(report.fixed)
    network = sb.mod.Module(_head(symbol), data_names=["input"])
    network.bind([("input", (7, 3))], [("softmax_label", (7,))])  # the batch's size is open
    network.init_params()
    values = network.get_params()[0]
    for name, value in values.items():
        np.testing.assert_array_equal(value.asnumpy(), module.state_dict()[name].numpy())


def test_a_sym_gen_trains_as_torch_and_gives_the_parameters_back():
    """Shared and padded tables, BatchNorm, lengths; the state fits the module."""
    rng = np.random.default_rng(0)
    module = GPT2()
    sym_gen = sym.from_torch(module, lambda key: rng.integers(0, 11, (4, key)), head=_head)
    batches = [
        (key, (rng.integers(0, 11, (4, key)),), rng.integers(0, 11, 4 * key)) for key in (6, 4, 6)
    ]
    reference = copy.deepcopy(module)
    expected = train_torch(reference, batches, "sgd")
    trainer = Trainer(sym_gen, 6)
    outputs, trained = trainer.train(batches, "sgd"), trainer.module
    for output, probabilities in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, probabilities, atol=1e-6)
    assert "lm_head.weight" not in trained.get_params()[0]  # that of wte
    module.load_state_dict(sym.torch_state_dict(module, trained))
    assert module.lm_head.weight is module.wte.weight
    for name, value in module.state_dict().items():
        np.testing.assert_allclose(value, reference.state_dict()[name], atol=1e-6, err_msg=name)


def test_running_statistics_follow_the_batches_as_in_torch():
    module = CNN().train()
    rng = np.random.default_rng(0)
    sym_gen = sym.from_torch(module, lambda key: torch.randn(3, 3, key, key), head=_head)
    batches = [
        (key, (rng.normal(size=(n, 3, key, key)).astype("f"),), rng.integers(0, 5, n))
        for key, n in ((6, 4), (4, 4))
    ]
    reference = copy.deepcopy(module)
    train_torch(reference, batches, "sgd")
    trainer = Trainer(sym_gen, 6)
    trainer.train(batches, "sgd")
    state = sym_gen.state_dict(trainer.module)
    for name in ("body.1.running_mean", "body.1.running_var", "body.5.running_var"):
        np.testing.assert_allclose(state[name], reference.state_dict()[name], atol=1e-6)
        assert not np.allclose(state[name], module.state_dict()[name])


def test_dropout_of_layers_and_of_attention_draws_in_training_only():
    module = Encoder(dropout=0.5).train()
    ids = torch.randint(1, 11, (4, 5))
    symbol = sym.from_torch(module, ids)
    graph = symbol.nodes()[-1].op.model.graph
    assert sum(n.op_type == "Dropout" and len(n.input) == 3 for n in graph.node) == 8
    evaluated = sym.from_torch(copy.deepcopy(module).eval(), ids).nodes()[-1].op
    assert evaluated.draws(training=True) == 0


def test_a_padded_row_gets_no_gradient_from_lookups():
    module = nn.Embedding(4, 2, padding_idx=1)
    with torch.no_grad():
        module.weight.fill_(3.0)
    symbol = sym.from_torch(module, torch.tensor([[0, 1], [1, 3]]))
    ids = np.array([[1, 1], [2, 3]])
    executor = symbol.simple_bind(sb.cpu(), "write", input=ids.shape)
    executor.copy_params_from({"weight": module.weight.detach().numpy()})
    (output,) = executor.forward(is_train=True, input=ids)
    np.testing.assert_array_equal(output.asnumpy(), np.full((2, 2, 2), 3.0, "f"))
    executor.backward([np.ones((2, 2, 2), "f")])
    np.testing.assert_array_equal(
        executor.grad_dict["weight"].asnumpy(), [[0, 0], [0, 0], [1, 1], [1, 1]]
    )


class Branches(nn.Module):
    """Computes something else for other values."""

    def forward(self, x):
        return x * 2 if self.training else x * 3


class Counts(nn.Module):
    """Changes a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return x * self.calls


REFUSED = {
    "modes differ": (Branches, ParameterError, r"in prediction, output 0 differs .* by"),
    "buffer": (Counts, UnsupportedError, "forward changes the buffers calls"),
    "dropout of RNN": (
        lambda: nn.RNN(3, 3, num_layers=2, dropout=0.1),
        UnsupportedError,
        "drops out in 1 places",
    ),
    "cumulative": (
        lambda: nn.BatchNorm1d(3, momentum=None),
        UnsupportedError,
        "momentum=None",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_differ_is_refused(case):
    make, error, text = REFUSED[case]
    with pytest.raises(error, match=text):
        sym.from_torch(make().train(), torch.ones(4, 3) + torch.arange(4)[:, None])


class BySize(nn.Module):
    """Computes something else for long sequences."""

    def forward(self, x):
        return x * 2 if x.shape[1] > 4 else x * 3


def test_a_size_that_forward_branches_on_is_read_anew_for_each_key():
    sym_gen = sym.from_torch(BySize(), lambda key: torch.ones(2, key))
    for key, factor in ((6, 2), (4, 3), (3, 3)):
        executor = sym_gen.symbol(key).simple_bind(sb.cpu(), "null", x=(5, key))
        (output,) = executor.forward(x=np.ones((5, key), "f"))
        np.testing.assert_array_equal(output.asnumpy(), np.full((5, key), factor, "f"))
    with pytest.raises(SymbucketError):
        sym_gen.symbol(6).simple_bind(sb.cpu(), "null", x=(5, 4))


def test_arguments_are_checked():
    linear, x = nn.Linear(3, 2), torch.ones(2, 3)
    with pytest.raises(InvalidArgumentError, match=r"needs a torch\.nn\.Module, not builtin"):
        sym.from_torch(len, x)
    with pytest.raises(InvalidArgumentError, match="example input 1 is int"):
        sym.from_torch(linear, (x, 2))
    with pytest.raises(InvalidArgumentError, match=r"fixed has '2\.\*'.*weight, bias"):
        sym.from_torch(linear, x, fixed=["2.*"])
    with pytest.raises(InvalidArgumentError, match="head= is for a sym_gen"):
        sym.from_torch(linear, x, head=_head)
    with pytest.raises(ParameterError, match="none of other is in Linear"):
        sym.torch_state_dict(linear, {"other": x.numpy()})
    with pytest.raises(ParameterError, match=r"'weight' has the shape \(2,\), .* \(2, 3\)"):
        sym.torch_state_dict(linear, {"weight": np.zeros(2)})


def test_errors_of_torchs_exporter_are_symbuckets():
    class Values(nn.Module):
        def forward(self, x):
            return x[: int(x.sum())] if x.sum() > 2 else x

    with pytest.raises(SymbucketError, match="PyTorch cannot export Values"):
        sym.from_torch(Values(), torch.ones(4, 3))


def test_named_inputs_and_several_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))  # without axes

        def forward(self, a, b):
            return {"sum": a + b * self.scale, "ids": (a > b).long()}

    a, b = torch.randn(2, 3), torch.randn(2, 3)
    symbol = sym.from_torch(Two(), {"b": b, "a": a}, name="two")
    assert symbol.list_outputs() == ["two_output0", "two_output1"]
    assert symbol.list_arguments() == ["b", "a", "scale"]
    state = sym.torch_state_dict(Two(), {"scale": np.array([5.0], "f")})
    assert state["scale"].shape == ()
    assert float(state["scale"]) == 5.0


def test_recurrent_layers_of_one_key():
    ids = torch.randint(0, 11, (3, 5))
    symbol = sym.from_torch(Recurrent(nn.GRU), ids, inputs=[sym.Variable("data")])
    assert symbol.list_arguments()[0] == "data"
