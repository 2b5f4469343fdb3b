"""Operator records: one class an operator, one module a family.

Importing this package imports every module in it, which registers all operators. A new family is a
new module with a ``FAMILY``, its title in the documentation.
"""

import importlib
import pkgutil

from symbucket.ops.record import Emitter, Operator, operator
from symbucket.ops.registry import find, full_name, in_namespace, names

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Emitter", "Operator", "find", "full_name", "in_namespace", "names", "operator"]
