"""Equal values become one object, and not too many are kept."""

from symbucket.one_of_each import OneOfEach


def test_the_first_of_equal_values_is_returned_for_all():
    one = OneOfEach()
    first, second = ((number, "a") for number in (1, 1))
    assert first is not second
    assert one(first) is one(second) is first
    assert one((2, "a")) == (2, "a")


def test_after_the_most_values_all_are_forgotten():
    one = OneOfEach(most=2)
    first, second = ((i,) for i in (1, 1))
    one(first)
    one((2,))
    assert one(first) is first
    one((3,))
    assert one(second) == first
    assert one(second) is second
