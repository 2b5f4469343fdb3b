"""Optimizers, as ``mx.optimizer``: each is a few lines of scalars in Python and nodes of ONNX."""

from symbucket.optimizer.adadelta import AdaDelta
from symbucket.optimizer.adagrad import AdaGrad
from symbucket.optimizer.adam import Adam
from symbucket.optimizer.adamax import Adamax
from symbucket.optimizer.adamw import AdamW
from symbucket.optimizer.additive import Test
from symbucket.optimizer.base import Optimizer, create, register
from symbucket.optimizer.dcasgd import DCASGD
from symbucket.optimizer.ftml import FTML
from symbucket.optimizer.ftrl import Ftrl
from symbucket.optimizer.host import HostUpdater, get_updater
from symbucket.optimizer.lamb import LAMB
from symbucket.optimizer.lars import LARS
from symbucket.optimizer.lbsgd import LBSGD
from symbucket.optimizer.nadam import Nadam
from symbucket.optimizer.nag import NAG
from symbucket.optimizer.rmsprop import RMSProp
from symbucket.optimizer.sgd import SGD, ccSGD
from symbucket.optimizer.sgld import SGLD
from symbucket.optimizer.signum import Signum
from symbucket.optimizer.updater import Updater

__all__ = [
    "DCASGD",
    "FTML",
    "LAMB",
    "LARS",
    "LBSGD",
    "NAG",
    "SGD",
    "SGLD",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "HostUpdater",
    "Nadam",
    "Optimizer",
    "RMSProp",
    "Signum",
    "Test",
    "Updater",
    "ccSGD",
    "create",
    "get_updater",
    "register",
]
