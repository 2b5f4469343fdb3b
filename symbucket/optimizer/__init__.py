"""Optimizers, as ``mx.optimizer``: each is a few lines of scalars in Python and nodes of ONNX."""

from symbucket.optimizer.adadelta import AdaDelta
from symbucket.optimizer.adagrad import AdaGrad
from symbucket.optimizer.adam import Adam
from symbucket.optimizer.adamax import Adamax
from symbucket.optimizer.base import Optimizer, create, register
from symbucket.optimizer.ftrl import Ftrl
from symbucket.optimizer.nadam import Nadam
from symbucket.optimizer.nag import NAG
from symbucket.optimizer.rmsprop import RMSProp
from symbucket.optimizer.sgd import SGD
from symbucket.optimizer.signum import Signum
from symbucket.optimizer.updater import Updater, get_updater

__all__ = [
    "NAG",
    "SGD",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "Adamax",
    "Ftrl",
    "Nadam",
    "Optimizer",
    "RMSProp",
    "Signum",
    "Updater",
    "create",
    "get_updater",
    "register",
]
