from __future__ import annotations

import logging
import math

import pytest

from symbucket.errors import InvalidArgumentError, UnsupportedError
from symbucket.lr_scheduler import (
    CosineScheduler,
    FactorScheduler,
    LRScheduler,
    MultiFactorScheduler,
    PolyScheduler,
)


def rates(scheduler, updates):
    return [scheduler(n) for n in updates]


def test_factor_by_hand():
    s = FactorScheduler(step=2, factor=0.5, base_lr=1.0)
    assert rates(s, range(8)) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_factor_stops():
    s = FactorScheduler(1, 0.1, stop_factor_lr=0.05, base_lr=1.0)
    assert rates(s, range(1, 6)) == pytest.approx([1, 0.1, 0.05, 0.05, 0.05])
    # The floor is applied only once the rate falls.
    assert FactorScheduler(5, 0.1, stop_factor_lr=0.05, base_lr=0.01)(5) == 0.01
    assert FactorScheduler(5, 0.1, stop_factor_lr=0.05, base_lr=0.01)(6) == 0.05


@pytest.mark.parametrize("step", [1, 3, 7])
def test_factor_against_a_running_rate(step):
    # The definition as a loop over updates: after each full step the rate is multiplied.
    s = FactorScheduler(step, 0.9, stop_factor_lr=0.02, base_lr=0.1)
    rate, since = 0.1, 0
    for n in range(1, 60):
        if since == step:
            rate, since = max(rate * 0.9, 0.02), 0
        since += 1
        assert s(n) == pytest.approx(rate, rel=1e-12)


def test_multifactor_by_hand():
    s = MultiFactorScheduler([2, 5], factor=0.1, base_lr=1.0)
    assert rates(s, range(8)) == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_poly_by_hand():
    s = PolyScheduler(max_update=4, base_lr=1.0, pwr=2, final_lr=0.2)
    want = [1.0, 0.2 + 0.8 * 0.5625, 0.2 + 0.8 * 0.25, 0.2 + 0.8 * 0.0625, 0.2, 0.2]
    assert rates(s, range(6)) == pytest.approx(want)
    assert rates(PolyScheduler(4, 2.0, pwr=1), [0, 1, 2, 3, 4, 9]) == [2.0, 1.5, 1.0, 0.5, 0, 0]


def test_cosine_by_hand():
    s = CosineScheduler(max_update=4, base_lr=1.0, final_lr=0.2)
    half = math.sqrt(0.5)
    want = [1.0, 0.6 + 0.4 * half, 0.6, 0.6 - 0.4 * half, 0.2, 0.2]
    assert rates(s, [0, 1, 2, 3, 4, 100]) == pytest.approx(want)


def test_linear_warmup_then_schedule():
    warm = {"base_lr": 1.0, "warmup_steps": 4, "warmup_begin_lr": 0.2}
    rise = [0.2, 0.4, 0.6, 0.8]
    factor = FactorScheduler(3, 0.5, **warm)
    # Steps are counted from update 0, not from the end of the warm-up.
    assert rates(factor, range(8)) == pytest.approx([*rise, 0.5, 0.5, 0.5, 0.25])
    multi = MultiFactorScheduler([5], 0.5, **warm)
    assert rates(multi, range(7)) == pytest.approx([*rise, 1, 1, 0.5])
    poly = PolyScheduler(8, pwr=1, **warm)
    assert rates(poly, range(9)) == pytest.approx([*rise, 1, 0.75, 0.5, 0.25, 0])
    cosine = CosineScheduler(8, **warm)
    assert rates(cosine, [3, 4, 6, 8]) == pytest.approx([0.8, 1, 0.5, 0])


def test_constant_warmup():
    s = FactorScheduler(
        10, 0.5, base_lr=1.0, warmup_steps=3, warmup_begin_lr=0.1, warmup_mode="constant"
    )
    assert rates(s, range(5)) == [0.1, 0.1, 0.1, 1.0, 1.0]
    with pytest.raises(InvalidArgumentError, match=r"update 3 is not in the warm-up \[0, 3\)"):
        s.get_warmup_lr(3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FactorScheduler(3, 0.7, base_lr=0.3, warmup_steps=2),
        lambda: MultiFactorScheduler([4, 9], 0.7, base_lr=0.3),
        lambda: PolyScheduler(20, 0.3, warmup_steps=3),
        lambda: CosineScheduler(20, 0.3),
    ],
)
def test_any_order_gives_the_same_rate(make):
    straight = rates(make(), range(25))
    scheduler = make()
    assert rates(scheduler, reversed(range(25))) == straight[::-1]
    assert scheduler(24) == straight[24]


def test_the_optimizer_may_set_base_lr(caplog):
    s = FactorScheduler(2, 0.5)
    s.base_lr = 0.8
    assert rates(s, [1, 3, 5]) == [0.8, 0.4, 0.2]
    s = PolyScheduler(4, base_lr=1.0, pwr=1)
    s.base_lr = 3.0
    assert rates(s, [0, 2]) == [1.0, 0.5]
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "base_lr=1 it was made with; the learning rate 3" in caplog.text


def test_drops_are_logged_once(caplog):
    caplog.set_level(logging.INFO)
    s = FactorScheduler(2, 0.5, base_lr=1.0)
    rates(s, [1, 2, 3, 3, 4, 5])
    assert caplog.messages == [
        "Update[3]: Change learning rate to 5.00000e-01",
        "Update[5]: Change learning rate to 2.50000e-01",
    ]


def test_a_schedule_of_ones_own():
    class Mine(LRScheduler):
        def __call__(self, num_update):
            return self.base_lr / num_update

    assert Mine(base_lr=2.0)(4) == 0.5
    with pytest.raises(UnsupportedError, match="must define it"):
        LRScheduler()(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FactorScheduler(0), r"step \(in updates\) is 0; expected an integer of 1 or more"),
        (lambda: FactorScheduler(1.5), "is 1.5; expected an integer"),
        (lambda: FactorScheduler(True), "is True; expected an integer"),
        (lambda: FactorScheduler(1, factor=1.1), "factor must be at most 1.*1.1"),
        (lambda: FactorScheduler(1, factor=-0.5), "factor"),
        (lambda: FactorScheduler(1, base_lr=float("nan")), "base_lr must be a finite number"),
        (lambda: MultiFactorScheduler([]), "list of update numbers"),
        (lambda: MultiFactorScheduler(5), "list of update numbers"),
        (lambda: MultiFactorScheduler([3, 0]), r"step\[1\].*is 0"),
        (lambda: MultiFactorScheduler([3, 3]), r"step\[1\]=3 follows step\[0\]=3"),
        (lambda: PolyScheduler(0), "max_update"),
        (lambda: CosineScheduler(5, warmup_steps=5), "leaves no update after"),
        (lambda: LRScheduler(0.1, 5, 0.2), "warmup_begin_lr=0.2 is above base_lr=0.1"),
        (lambda: LRScheduler(0.1, -1), "warmup_steps"),
        (lambda: LRScheduler(0.1, 5, 0.0, "cosine"), "'linear' or 'constant', found 'cosine'"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(InvalidArgumentError, match=message):
        make()
