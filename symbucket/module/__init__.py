"""Modules: networks with parameters, optimizer and training loop, as ``mx.mod``."""

from symbucket.module.base import BaseModule
from symbucket.module.bucketing import BucketingModule
from symbucket.module.module import Module
from symbucket.module.python_module import PythonLossModule, PythonModule
from symbucket.module.recurrent import RecurrentModule
from symbucket.module.sequential import SequentialModule
from symbucket.module.terminals import Terminals

__all__ = [
    "BaseModule",
    "BucketingModule",
    "Module",
    "PythonLossModule",
    "PythonModule",
    "RecurrentModule",
    "SequentialModule",
    "Terminals",
]
