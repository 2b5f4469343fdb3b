"""Optimizers, as ``mx.optimizer``: each is a few lines of scalars in Python and nodes of ONNX."""

from symbucket.module.optimizer.adadelta import AdaDelta
from symbucket.module.optimizer.adagrad import AdaGrad
from symbucket.module.optimizer.adam import Adam
from symbucket.module.optimizer.adamax import Adamax
from symbucket.module.optimizer.base import Optimizer, create, register
from symbucket.module.optimizer.ftrl import Ftrl
from symbucket.module.optimizer.nadam import Nadam
from symbucket.module.optimizer.nag import NAG
from symbucket.module.optimizer.rmsprop import RMSProp
from symbucket.module.optimizer.sgd import SGD
from symbucket.module.optimizer.signum import Signum
from symbucket.module.optimizer.updater import Updater, get_updater

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
