"""Every error that symbucket raises on purpose.

Each class also derives from the built-in error that Python code would expect in its place, so
``except ValueError`` works as usual; all of them are RuntimeErrors, as MXNet's own error is. A
message says what was found, what was expected, where (node, parameter, bucket key) and what to do.
"""

from __future__ import annotations


class SymbucketError(RuntimeError):
    """Base of all errors raised by symbucket; ``symbucket.base.MXNetError`` is the same class."""


class InvalidArgumentError(SymbucketError, ValueError):
    """An argument, attribute or name is missing, unknown or out of range."""


class ShapeError(InvalidArgumentError):
    """Shapes or dtypes contradict each other or cannot be inferred."""


class IndexingError(InvalidArgumentError, IndexError):
    """A key of an array is out of range or nothing that an array takes."""


class NameConflictError(InvalidArgumentError):
    """Two different things carry one name."""


class DataError(InvalidArgumentError):
    """A batch, a label or a dataset is not what its description says."""


class ParameterError(InvalidArgumentError):
    """Parameters differ between bucket keys, or a given set does not fit the network."""


class CheckpointError(InvalidArgumentError):
    """A checkpoint is missing, damaged, or does not fit the network."""


class BundleError(InvalidArgumentError):
    """A bundle (exported networks) is missing, damaged, hostile or of an unknown version."""


class StateError(SymbucketError):
    """A method was called before the one that it builds on (``bind`` before ``forward``)."""


class UnsupportedError(SymbucketError, NotImplementedError):
    """An operator, gradient or option that this version does not have."""


class ScheduledRateError(StateError, UserWarning):
    """A learning rate was set that a scheduler overrides; MXNet raises a UserWarning, too."""


class CustomOperatorError(SymbucketError):
    """The Python code of an operator of the user's own raised; its error is the cause."""


class DescriptionError(DataError, TypeError):
    """A shape of data is of a type that is none."""


class SymbolValueError(UnsupportedError, TypeError):
    """A Python operation that needs numbers, asked of a symbol, which has none."""


class DeviceError(SymbucketError):
    """An execution provider or device is not available."""


class RuntimeMissingError(SymbucketError, ImportError):
    """No usable ONNX Runtime is installed."""


class MemoryLimitError(SymbucketError, MemoryError):
    """A memory plan does not fit under ``memory_limit``."""


class DivergenceError(SymbucketError, ArithmeticError):
    """The loss became NaN or infinite."""


class DeadlineError(SymbucketError, TimeoutError):
    """A request was not answered in the time that it had."""


class OverloadedError(SymbucketError):
    """A server has as many requests waiting as it accepts."""


class WorkerError(SymbucketError):
    """Workers of one job differ, or one of them does not answer."""
