"""The command ``symbucket``: train, export, run, plan, info, and how it fails.

Long, because all commands are run on one bundle and one checkpoint, made once for the module.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

import symbucket as sb
from symbucket.apps.language_model import NEXT_WORD
from symbucket.cli import main
from symbucket.cli.sources import Shapes, key_of
from symbucket.errors import InvalidArgumentError

SMALL = [
    "--buckets", "6", "9", "12", "--min-count", "1", "--num-layers", "1", "--num-hidden", "8",
    "--num-embed", "6", "--batch-size", "4", "--lr", "0.02",
]  # fmt: skip
OWN = """
import symbucket as sb

def sym_gen(key):
    x = sb.sym.Variable("data")
    return sb.sym.sum(x, axis=1, name="total"), ("data",), ()

def broken(key):
    raise KeyError("no such thing")
"""

CLASSES = """
import symbucket as sb

def sym_gen(key):
    scores = sb.sym.FullyConnected(sb.sym.Variable("data"), num_hidden=500, name="scores")
    scores = sb.sym.SoftmaxOutput(scores, sb.sym.Variable("label"), name="softmax")
    return scores, ("data",), ("label",)
"""


def symbucket(*argv, prog=None):
    """The exit code; pytest's capsys has the rest."""
    try:
        return main([str(a) for a in argv], prog)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "dogs.txt"
    looks = ["red", "old", "big", "wet"]
    lines = [["the", *looks[: i % 4], "dog", "ran", "home"] for i in range(60)]
    path.write_text("\n".join(" ".join(line) for line in lines))
    return path


@pytest.fixture(scope="module")
def prefix(text, tmp_path_factory):
    """A checkpoint of two epochs."""
    prefix = tmp_path_factory.mktemp("runs") / "dogs"
    argv = ["--data-train", text, "--num-epochs", 2, "--samples", 0, "--checkpoint", prefix]
    assert symbucket("train", *SMALL, *argv) == 0
    return prefix


@pytest.fixture(scope="module")
def bundle(prefix, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "dogs"
    assert symbucket("export", prefix, folder) == 0
    return folder


@pytest.fixture
def own(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "own.py"


def test_a_trained_model_is_exported_with_its_vocabulary(prefix, tmp_path, capsys):
    assert symbucket("export", prefix, tmp_path / "b") == 0
    out = capsys.readouterr().out
    assert re.search(r"b: 4 inference networks of epoch 2, \d+ parameters, 0\.\d MB\n$", out)
    served = sb.Bundle(tmp_path / "b")
    assert served.keys == [12, 6, 9, NEXT_WORD]
    assert set(served.attachments) == {"vocabulary.json"}
    assert served.networks[9].outputs[0].axes == ("batch*key", None)
    states = [t for t in served.networks[NEXT_WORD].inputs if t.name != "data"]
    assert [t.axes for t in states] == [("batch", None)] * 2


def test_export_takes_an_epoch_a_batch_size_and_training(prefix, tmp_path, capsys):
    argv = ["--epoch", 1, "--batch-size", 2, "--padding", "data=1"]
    assert symbucket("export", prefix, tmp_path / "b", *argv) == 0
    assert "of epoch 1" in capsys.readouterr().out
    first = sb.Bundle(tmp_path / "b").networks[6].inputs[0]
    assert (first.shape, first.padding) == ((2, 6), 1.0)
    assert symbucket("export", prefix, tmp_path / "t", "--training") == 0
    assert "3 training networks of epoch 2" in capsys.readouterr().out
    model = onnx.load(tmp_path / "t" / "key-6.onnx", load_external_data=False)
    assert "pred_weight.grad" in [o.name for o in model.graph.output]


def test_run_on_a_text_gives_what_training_saw(bundle, prefix, text, tmp_path, capsys):
    (tmp_path / "few.txt").write_text(
        "the red dog ran home\n" + "the " * 20 + "dog\nthe dog ran home\n"
    )
    assert symbucket("run", bundle, tmp_path / "few.txt", "--output", tmp_path / "out.npz") == 0
    out = capsys.readouterr().out
    assert "1 sentences are longer than every bucket, left out" in out
    assert re.search(r"^ +[\d.]+  the red dog ran home$", out, re.MULTILINE)
    assert out.startswith("perplexity  sentence\n")
    assert out.index("all 11 words") < out.index("padding") < out.index("2 requests in")
    assert re.search(r"2 requests in [\d.]+ s: [\d,]+ a second", out)
    total = float(re.search(r"^ +([\d.]+)  all 11 words$", out, re.MULTILINE)[1])
    with np.load(tmp_path / "out.npz") as file:
        assert sorted(file.files) == ["softmax_output/0", "softmax_output/2"]
        assert file["softmax_output/0"].shape[0] == 6

    from symbucket.apps import language_model
    from symbucket.io import BucketSentenceIter

    module, vocabulary = language_model.trained_model(str(prefix), 2)
    sentences = [line.split() for line in ("the red dog ran home", "the dog ran home")]
    encoded = [[vocabulary.eos_id, *ids] for ids in vocabulary.encode(sentences)]
    batches = BucketSentenceIter(
        encoded, 4, [6, 9, 12], invalid_label=0, shuffle=False, last_batch="pad"
    )
    ((_, expected),) = module.score(batches, sb.metric.Perplexity(0))
    assert total == pytest.approx(expected, abs=0.01)


def test_outputs_have_the_numbers_of_their_requests(bundle, tmp_path):
    np.savez(tmp_path / "in.npz", **{"data/7": [2, 3, 4], "data/3": [2, 4]})
    argv = [bundle, tmp_path / "in.npz", "--output", tmp_path / "out.npz", "--quiet"]
    assert symbucket("run", *argv) == 0
    with np.load(tmp_path / "out.npz") as file:
        assert {n: len(file[n]) for n in file.files} == {
            "softmax_output/3": 2,
            "softmax_output/7": 3,
        }


def test_a_run_that_fails_before_it_begins_leaves_the_last_one_as_it_was(text, tmp_path):
    argv = ["train", "--data-train", text, "--checkpoint", tmp_path / "lm", *SMALL, "--samples", 0]
    assert symbucket(*argv, "--num-epochs", 1) == 0

    def contents():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    files = contents()
    assert any(path.parent.name == "lm-run" for path in files)
    assert symbucket(*argv, "--resume", 1, "--num-epochs", 2, "--num-hidden", 9) == 2
    assert symbucket(*argv, "--data-train", tmp_path / "no.txt") == 2
    assert contents() == files
    more = ["--resume", 1, "--num-epochs", 2, "--buckets", 9, 11]
    assert symbucket(*argv, *more) == 0
    assert json.loads((tmp_path / "lm-model.json").read_text())["buckets"] == [9, 11]


@pytest.mark.parametrize("numbered", [False, True])
def test_run_on_arrays(bundle, tmp_path, capsys, numbered):
    rows = np.array([[2, 3, 4], [2, 4, 3]])
    arrays = {f"data/{i}": r for i, r in enumerate(rows)} if numbered else {"data": rows}
    np.savez(tmp_path / "in.npz", **arrays)
    argv = [bundle, tmp_path / "in.npz", "--output", tmp_path / "out.npz", "--quiet", "--key", 9]
    assert symbucket("run", *argv) == 0
    assert capsys.readouterr().out == ""
    expected = sb.Bundle(bundle).run(list(rows))
    with np.load(tmp_path / "out.npz") as file:
        for i, one in enumerate(expected):
            np.testing.assert_allclose(
                file[f"softmax_output/{i}"], one["softmax_output"], rtol=1e-5
            )


def test_networks_of_ones_own(own, tmp_path, capsys):
    module = sb.mod.BucketingModule(
        lambda _: (sb.sym.sum(sb.sym.Variable("data"), axis=1, name="total"), ("data",), ()),
        default_bucket_key=6,
    )
    module.bind([("data", (2, 6))])
    module.init_params()
    module.save_checkpoint(str(tmp_path / "own"), 1)
    argv = ["--sym-gen", f"{own}:sym_gen", "--keys", 4, 6, "--data", "data=2,key"]
    assert symbucket("export", tmp_path / "own", tmp_path / "b", *argv) == 0
    found = sb.Bundle(tmp_path / "b").run([[1, 2, 3], [1, 2, 3, 4, 5]])
    assert [float(f["total_output"]) for f in found] == [6, 15]
    capsys.readouterr()
    assert symbucket("plan", *argv, "--inference", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["keys"]) == {"4", "6"}


def test_plan_with_the_metric_of_training(tmp_path, capsys):
    (tmp_path / "classes.py").write_text(CLASSES)
    argv = ["--sym-gen", f"{tmp_path / 'classes.py'}:sym_gen", "--keys", 3, "--data", "data=20,key"]
    argv += ["--label", "label=20", "--optimizer", "sgd", "--json"]
    ignoring = json.dumps(["perplexity", {"ignore_label": 0}])
    outputs = {}
    for metric in (None, "accuracy", ignoring, "mae"):  # of mae, a step does not return sums
        assert symbucket("plan", *argv, *([] if metric is None else ["--metric", metric])) == 0
        outputs[metric] = json.loads(capsys.readouterr().out)["outputs"]
    probabilities = 20 * 500 * 4
    assert outputs[None] == outputs["mae"] >= probabilities
    assert max(outputs["accuracy"], outputs[ignoring]) < outputs[None] - 0.9 * probabilities
    assert symbucket("plan", *argv, "--metric", "acuracy") == 2
    assert "Did you mean 'accuracy'" in capsys.readouterr().err


def test_plan_of_the_language_model(capsys):
    sizes = ["--buckets", 3, 5, "--num-hidden", 8, "--num-embed", 4, "--vocabulary-size", 20]
    assert symbucket("plan", *sizes) == 0
    out = capsys.readouterr().out
    assert re.search(r"^key +nodes", out)
    assert re.search(r"^total +[\d.]+ MB$", out, re.MULTILINE)
    assert "3: none\n    unrolled: lstm_l0_h2h_weight: 3 steps; a loop has 4 or more\n" in out
    assert out.endswith("5: lstm_l0_t0_i2h (5 steps), lstm_l1_t0_i2h (5 steps)\n")
    assert symbucket("plan", *sizes, "--json", "--optimizer", "sgd") == 0
    assert json.loads(capsys.readouterr().out)["optimizer states"] == 0


def test_plan_chooses_buckets_for_a_text(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(" ".join("w" * n) for n in range(1, 10) for _ in range(20)))
    sizes = ["--num-hidden", 4, "--num-embed", 4, "--vocabulary-size", 20, "--buckets", 10]
    argv = ["--text", text, "--count", 3, "--batch", "tokens:40", *sizes]
    assert symbucket("plan", *argv) == 0
    out = capsys.readouterr().out
    assert re.match(r"bucket +sentences +batches +padding +batch size +memory MB +compile s", out)
    assert symbucket("plan", *argv, "--json") == 0
    buckets = json.loads(capsys.readouterr().out)["buckets"]
    assert [b["batch_size"] for b in buckets] == [40 // b["key"] for b in buckets]
    assert buckets[-1]["key"] == 11  # with the end of the sentence before and after it
    assert 150 < sum(b["sentences"] for b in buckets) < 180  # the rest is for validation
    assert symbucket("plan", *argv, "--padding", 0.1) == 2
    assert "give --count or --padding" in capsys.readouterr().err
    assert symbucket("plan", *argv, "--memory-limit", 1) == 2
    assert "memory_limit is 1,000,000" in capsys.readouterr().err


def test_info(capsys):
    assert symbucket("info") == 0
    out = capsys.readouterr().out
    for said in ("symbucket", "onnxruntime", "CPUExecutionProvider", "cores", "extras:"):
        assert said in out
    assert symbucket("info", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["symbucket"] == sb.__version__
    assert set(found) == {"versions", "runtime", "devices", "extras"}


@pytest.mark.parametrize("command", ["train", "export", "run", "plan", "view", "info"])
def test_help_shows_an_example(command, capsys):
    assert symbucket(command, "--help") == 0
    out = capsys.readouterr().out
    assert re.search(rf"^examples?:\n(  .*\n)*?  symbucket {command} ", out, re.MULTILINE)
    assert "exit codes: 0 done" in out
    assert "--debug" in out


def test_help_and_version(capsys):
    assert symbucket("--help") == 0
    out = capsys.readouterr().out
    assert all(c in out for c in ("train", "export", "run", "plan", "view", "info"))
    assert symbucket("--version") == 0
    assert capsys.readouterr().out == f"symbucket {sb.__version__}\n"


BAD = {
    "no checkpoint": (["export", "{tmp}/no", "{tmp}/b"], "there is no checkpoint {tmp}/no-0001"),
    "no model": (
        ["export", "{tmp}/no", "{tmp}/b", "--epoch", "1"],
        "cannot read '{tmp}/no-model.j",
    ),
    "no epoch": (["export", "{prefix}", "{tmp}/b", "--epoch", "9"], "there is no parameter file"),
    "not a bundle": (["export", "{prefix}", "{tmp}/mine"], "exists and is not a bundle"),
    "padding": (["export", "{prefix}", "{tmp}/b", "--padding", "data"], "write NAME=VALUE"),
    "no bundle": (["run", "{tmp}/no", "{tmp}/x.npz"], "does not exist; a bundle is a folder"),
    "no file": (["run", "{bundle}", "{tmp}/no.npz"], "cannot read arrays from {tmp}/no.npz"),
    "no text": (["run", "{bundle}", "{tmp}/no.txt"], "cannot read sentences from {tmp}/no.txt"),
    "pickle": (["run", "{bundle}", "{tmp}/pickle.npz"], "cannot read arrays"),
    "no array": (["run", "{bundle}", "{tmp}/bytes.npz"], "'data' is no array, as np.savez writes"),
    "gaps": (["run", "{bundle}", "{tmp}/gaps.npz"], "other has no entry for request 1"),
    "twice": (["run", "{bundle}", "{tmp}/twice.npz"], "is a second array for request 0"),
    "a number": (["run", "{bundle}", "{tmp}/number.npz"], "'other' is a single number"),
    "padding twice": (
        ["export", "{prefix}", "{tmp}/b", "--padding", "data=1", "data=2"],
        "--padding names 'data' twice",
    ),
    "no time": (["serve", "{bundle}", "--timeout", "nan"], "--timeout above 0, both finite"),
    "too long": (["run", "{bundle}", "{tmp}/long.npz"], "request 0 fits no network"),
    "no module": (
        ["plan", "--sym-gen", "nowhere.at.all:f", "--keys", "3", "--data", "data=2,key"],
        "cannot import 'nowhere.at.all'",
    ),
    "no function": (
        ["plan", "--sym-gen", "{own}:nothing", "--keys", "3", "--data", "data=2,key"],
        "has no function 'nothing'",
    ),
    "no colon": (
        ["plan", "--sym-gen", "own", "--keys", "3", "--data", "data=2,key"],
        "write MODULE:FUNCTION",
    ),
    "no shape": (
        ["plan", "--sym-gen", "{own}:sym_gen", "--keys", "3", "--data", "data"],
        "does not describe an array",
    ),
    "no size": (
        ["plan", "--sym-gen", "{own}:sym_gen", "--keys", "en", "--data", "data=2,key"],
        "key 'en' has no size 'key'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_are_one_line(name, bundle, prefix, own, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    np.savez(tmp_path / "pickle.npz", data=np.array([{}], dtype=object))
    np.savez(tmp_path / "gaps.npz", **{"data/0": [1], "data/1": [1], "other/0": [1]})
    np.savez(tmp_path / "twice.npz", **{"data": [[1], [2]], "data/0": [3]})
    np.savez(tmp_path / "number.npz", data=[[1], [2]], other=3)
    with zipfile.ZipFile(tmp_path / "bytes.npz", "w") as archive:
        archive.writestr("data", "no array")
    np.savez(tmp_path / "long.npz", data=np.ones((1, 40)))
    names = {"tmp": tmp_path, "bundle": bundle, "prefix": prefix, "own": own}
    argv, message = BAD[name]
    assert symbucket(*(a.format(**names) for a in argv)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"symbucket {argv[0]}: error: ")
    assert message.format(**names) in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_debug_shows_where(own, tmp_path, capsys):
    with pytest.raises(InvalidArgumentError):
        symbucket("run", tmp_path / "no", "x.npz", "--debug")
    argv = ["plan", "--sym-gen", f"{own}:broken", "--keys", "3", "--data", "data=2,key"]
    assert symbucket(*argv) == 2
    err = capsys.readouterr().err
    assert f"error: --sym-gen {own}:broken: the function raised KeyError for key 3: 'no su" in err
    assert err.endswith("--debug shows where\n")
    with pytest.raises(InvalidArgumentError) as error:
        symbucket(*argv, "--debug")
    assert isinstance(error.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["trian"], "Did you mean 'train'?"),
        (["view", "x", "--graph", "trainin"], "Did you mean 'training'?"),
        (
            ["train", "--num-epoch", "3"],
            "--num-epoch 3. Did you mean '--num-epochs'?",
        ),
        (
            ["train", "--num-epochs", "0"],
            "--num-epochs: 0 is not 1 or more",
        ),
        (["train", "--lr", "fast"], "argument --lr: 'fast' is not a number"),
        (["train", "--batch-size", "x"], "argument --batch-size: 'x' is not an integer"),
        (["train", "--dropout", "1"], "--dropout: 1 is not from 0 up to but excluding 1"),
        (["train", "--checkpoint", "p", "--resume", "6"], "--resume 6 leaves nothing to train"),
        (["export", "p", "f", "--keys", "3"], "--keys needs --sym-gen"),
        (["plan", "--keys", "3"], "--keys needs --sym-gen"),
        (["view", "net.json", "--data", "data=3"], "--data needs --sym-gen"),
        (["train", "--buckets", "10", "8"], "--buckets 10 8: lengths must ascend"),
        (["plan", "--buckets", "10", "10"], "--buckets 10 10: lengths must ascend"),
        (["train", "--optimizer", "adamww"], "Did you mean 'adamw'?"),
        (["train", "--gpus", "0"], "symbucket[cuda] in place of it, or leave out --gpus"),
        (["plan", "--sym-gen", "m:f", "--keys", "3"], "--sym-gen needs --data"),
        (["run", "b", "x.npz", "--output", "y.txt"], "--output must be an .npz file"),
        (["train", "--resume", "1"], "--resume needs --checkpoint"),
    ],
)
def test_usage_errors(argv, message, capsys):
    assert symbucket(*argv) == 2
    assert message in capsys.readouterr().err


def test_interrupted(monkeypatch, capsys):
    from symbucket.cli import info

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "collect", stop)
    assert symbucket("info") == 130
    assert capsys.readouterr().err == "symbucket info: interrupted\n"


def test_progress_is_shown_on_a_terminal_only(prefix, tmp_path, capsys, monkeypatch):
    symbucket("export", prefix, tmp_path / "b")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    symbucket("export", prefix, tmp_path / "b")
    shown = capsys.readouterr().err
    assert "\r[0/4] compiling key 12" in shown
    assert "writing key-6.onnx" in shown
    assert shown.endswith("\r")


def test_keys_and_shapes_of_arguments():
    assert [key_of(t) for t in ("10", "[32, 64]", "en", '"10"', "{}", "true")] == [
        10, (32, 64), "en", "10", "{}", True,
    ]  # fmt: skip
    shapes = Shapes(["image=8,3,key[0],key[1]", "n=8:N:int64"], ["label=8, key[1]"])
    data, labels = shapes((32, 64))
    assert [(d.name, d.shape, d.dtype.name, d.layout) for d in data] == [
        ("image", (8, 3, 32, 64), "float32", "NCHW"),
        ("n", (8,), "int64", "N"),
    ]
    assert labels[0].shape == (8, 64)
    for text in ("data", "data=", "=3", "data=2,width", "data=2,-3", "data=2;3"):
        with pytest.raises(InvalidArgumentError, match="does not describe an array"):
            Shapes([text], [])
    with pytest.raises(InvalidArgumentError, match=r"key \(1,\) has no size 'key\[1\]'"):
        Shapes(["data=key[1]"], [])((1,))


def process(*argv, before="pass", **how):
    code = f"import sys; {before}; from symbucket.cli import main; sys.exit(main(sys.argv[1:]))"
    root = Path(sb.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, argv)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **how,
    )


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--help"], 0, "Bucketing on ONNX Runtime"),
        (["info"], 0, "onnxruntime  missing"),
        (["train"], 2, "symbucket train: error: symbucket needs an ONNX Runtime and found none"),
    ],
)
def test_without_a_runtime(argv, code, said):
    run = process(*argv, before="sys.modules['onnxruntime'] = None")
    out, err = run.communicate()
    assert said in out + err
    assert "Traceback" not in err
    assert run.returncode == code


def test_the_package_is_a_command():
    root = Path(sb.__file__).parents[1]
    argv = [sys.executable, "-m", "symbucket", "--version"]
    run = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout == f"symbucket {sb.__version__}\n"


def test_the_command_as_a_process_of_its_own(tmp_path):
    run = process("run", tmp_path / "no", "x.npz")
    out, err = run.communicate()
    assert run.returncode == 2
    assert err.startswith("symbucket run: error: ")
    assert "Traceback" not in err
    assert out == ""


@pytest.mark.parametrize("python", [(3, 11), (3, 14)])
def test_markers_of_extras_are_read_as_installers_read_them(python, monkeypatch):
    from symbucket.cli import info

    markers = pytest.importorskip("packaging.markers")
    version = ".".join(map(str, python))
    monkeypatch.setattr(sys, "version_info", python)
    for condition in (
        "python_version < '3.13'", "python_version >= '3.13'", "sys_platform == 'linux'"
    ):  # fmt: skip
        expected = markers.Marker(condition).evaluate({"python_version": version})
        assert info._applies(f'{condition} and extra == "x"') == expected
    source = (Path(sb.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    for condition in re.findall(r"; ((?:python|sys)_\w+ [^\"]+)\"", source):
        assert info._CONDITION.fullmatch(condition), condition


def test_ctrl_c_before_the_package_is_imported():
    code = (
        "import sys; sys.meta_path.insert(0, type('Stop', (), {'find_spec': "
        "staticmethod(lambda name, *_: (_ for _ in ()).throw(KeyboardInterrupt)"
        " if name == 'symbucket' else None)})); "
        "from symbucket_command import main; sys.exit(main())"
    )
    root = Path(sb.__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False
    )
    assert (run.returncode, run.stderr) == (130, "symbucket: interrupted\n")


def test_a_reader_that_goes_away_is_no_error():
    run = process("info")
    run.stdout.close()
    err = run.stderr.read()
    run.stderr.close()
    assert (run.wait(), err) == (0, "")


def test_train_goes_on_by_itself(text, tmp_path, monkeypatch, capsys):
    prefix = tmp_path / "new" / "folder" / "dogs"
    argv = ["train", *SMALL, "--data-train", text, "--samples", 0, "--dropout", "0.2"]
    argv += ["--checkpoint", prefix, "--resume", "auto"]
    assert symbucket(*argv, "--num-epochs", 1) == 0
    assert "goes on" not in capsys.readouterr().out
    assert symbucket(*argv, "--num-epochs", 2) == 0
    assert "goes on from" in capsys.readouterr().out
    resumed = sb.nd.load(f"{prefix}-0002.params")
    monkeypatch.chdir(tmp_path)
    argv[-3] = "whole"
    assert symbucket(*argv, "--num-epochs", 2) == 0
    whole = sb.nd.load("whole-0002.params")
    assert all(np.array_equal(whole[n].asnumpy(), resumed[n].asnumpy()) for n in whole)
    # Anew: the run before it is forgotten.
    argv[-1] = "0"
    assert symbucket(*argv, "--num-epochs", 1) == 0
    assert sb.CheckpointManager("whole-run").latest().epoch == 1


def test_output_that_is_closed():
    command = f'"{sys.executable}" -m symbucket info'
    closed = subprocess.run(f"{command} >&-", shell=True, capture_output=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, b"")
