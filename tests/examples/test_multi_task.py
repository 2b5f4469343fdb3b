"""``examples/multi_task.py``: shared parameters learn from both tasks, own ones from their own."""

import re

import numpy as np

import symbucket as sb
from tests.examples.example_runs import load, run

example = load("multi_task")
SIZES = (8, 9)
ROWS = [([3, 4, 5], [4, 8, 3]), ([7], [5]), ([6, 6], [3, 7])]
KEYS = {"translate": ("translate", 4, 5), "continue": ("continue", 5)}
OWN = {"translate": ("source_embed", "reader_", "writer_", "translate_"), "continue": ("contin",)}


def _module():
    module = sb.mod.BucketingModule(example.two_tasks(*SIZES, 6), example.EVERYTHING)
    module.bind(*example.described(len(ROWS)))
    module.init_params(sb.init.Uniform(0.4))
    module.init_optimizer(
        optimizer_params={"learning_rate": 0.3, "rescale_grad": 1.0, "momentum": 0.9, "wd": 0.01}
    )
    return module


def _values(module):
    return {name: array.asnumpy() for name, array in module.get_params()[0].items()}


def _step(module, task):
    module.forward_backward(example.batch_of(KEYS[task], ROWS))
    module.update()


def _loss(module, task):
    module.forward(example.batch_of(KEYS[task], ROWS), is_train=False)
    words = example.batch_of(KEYS[task], ROWS).label[0].reshape(-1).astype(int)
    rows = module.get_outputs()[0].asnumpy()
    kept = words != example.PAD
    return -np.log(rows[np.arange(len(rows)), words][kept]).mean()


def test_every_parameter_belongs_to_a_task_or_to_both():
    names = set(_values(_module()))
    owned = {n for starts in OWN.values() for n in names if n.startswith(starts)}
    assert names - owned == {"german_embed_weight"}


def test_shared_matrix_learns_from_both_and_the_rest_from_its_own_task():
    module = _module()
    for task in ("translate", "continue", "translate", "continue"):
        before = _values(module)
        _step(module, task)
        after = _values(module)
        changed = {n for n in before if not np.array_equal(before[n], after[n])}
        own = {n for n in before if n.startswith(OWN[task])}
        assert changed == own | {"german_embed_weight"}


def test_both_losses_fall_when_batches_alternate():
    module = _module()
    first = {task: _loss(module, task) for task in KEYS}
    for _ in range(25):
        for task in KEYS:
            _step(module, task)
    assert all(_loss(module, task) < 0.6 * first[task] for task in KEYS)


def test_one_task_moves_the_other_through_the_matrix_alone():
    module = _module()
    before = {task: _loss(module, task) for task in KEYS}
    _step(module, "continue")
    assert _loss(module, "translate") != before["translate"]
    # With the old matrix back, the translator is what it was.
    values = _values(module)
    values["german_embed_weight"] = _values(_seeded())["german_embed_weight"]
    module.set_params(values, {})
    assert _loss(module, "translate") == before["translate"]


def _seeded():
    sb.random.seed(0)
    return _module()


def test_padding_changes_nothing():
    for key in KEYS.values():
        report = sb.check_padding(example.two_tasks(*SIZES, 6), example.batch_of(key, ROWS))
        assert report.ok, report


def test_batches_alternate_without_end():
    tasks = [example.task_batches(task, ROWS * 4, 2, seed=1) for task in KEYS]
    found = [b.bucket_key[0] for b, _ in zip(example.alternating(*tasks), range(30))]
    assert found == ["translate", "continue"] * 15


def test_small_run():
    small = ["--pairs", 120, "--texts", 300, "--held-out", 60, "--num-hidden", 16, "--lr", 0.02]
    result = run(example, *small, "--steps", 60)
    assert (result.code, result.err) == (0, "")
    (least,) = re.findall(r"perplexity below ([\d.]+)\.", result.out)
    alone, both = (float(p) for p in re.findall(r"language model ([\d.]+)\n", result.out))
    # Never trained, it guesses among all words; trained, it knows what may follow.
    assert alone > 20
    assert float(least) < both < 7
    assert result.out.count("models built for 'everything': 0") == 2


def test_wrong_arguments_are_explained():
    assert "10,000 numbers" in run(example, "--texts", 9_500).err
    result = run(example, "--pairs", 20, "--texts", 20, "--held-out", 20)
    assert result.code == 2
    assert "bucket ('translate', 8, 8) holds 18 samples" in result.err
    assert "Use a batch_size of at most 18" in result.err
