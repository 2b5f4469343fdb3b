"""Outputs of a classifier with their labels, and the value of a metric."""

import numpy as np

PROBS = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25], [0.3, 0.3, 0.4], [0.0, 1.0, 0.0]])
LABELS = np.array([2, 1, 0, 1])


class Arraylike:
    """Something that is no numpy array but can become one."""

    def __init__(self, array):
        self.array = np.asarray(array)

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


def value(m, *batches):
    for labels, preds in batches:
        m.update(labels, preds)
    names, values = m.get()
    assert isinstance(names, str)
    return values
