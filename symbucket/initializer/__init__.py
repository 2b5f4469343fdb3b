"""Initial values of parameters, as ``mx.init``.

An initializer is called with a parameter's name and its array and fills the array in place. The
rule follows the name: ``*weight`` gets the initializer's own values, ``*bias``, ``*beta`` and
running means get 0, ``*gamma`` and running variances get 1. A parameter whose variable was made
with ``init=`` carries that initializer as its attribute ``__init__``, which precedes
these rules.

Random values do not depend on the order in which parameters are initialised. Each parameter draws
from its own stream, made from the library's seed (:func:`symbucket.random.seed`), its name,
and how often that name was initialised since the seed was set. ``seed=`` of an initializer takes
the place of the library's seed and leaves that count out: the same values at every call.
"""

from symbucket.initializer.base import InitDesc, Initializer, alias, create, register
from symbucket.initializer.drawn import MSRAPrelu, Normal, Orthogonal, Uniform, Xavier
from symbucket.initializer.fixed import Bilinear, Constant, LSTMBias, One, Zero
from symbucket.initializer.fused import FusedRNN
from symbucket.initializer.select import Load, Mixed

__all__ = [
    "Bilinear",
    "Constant",
    "FusedRNN",
    "InitDesc",
    "Initializer",
    "LSTMBias",
    "Load",
    "MSRAPrelu",
    "Mixed",
    "Normal",
    "One",
    "Orthogonal",
    "Uniform",
    "Xavier",
    "Zero",
    "alias",
    "create",
    "register",
]
