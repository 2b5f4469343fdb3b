"""What scripts for MXNet look for in ``module._exec_group``."""

from __future__ import annotations

from typing import Any

from symbucket.context import Context
from symbucket.engine.bound_network import AnyExecutor
from symbucket.engine.data_parallel import ExecutorGroup
from symbucket.engine.make_executor import ExecutorOnContext
from symbucket.io.desc import batch_size_of
from symbucket.runtime import NDArray

_OF_THE_MODULE = frozenset(
    "data_names data_shapes for_training inputs_need_grad label_names label_shapes output_names "
    "state_names".split()
)


class DataParallelExecutorGroup:
    """``module._exec_group``: the executors of a module, and its arrays.

    Arrays come in MXNet's form: for each name a list of one array a context. There is one array
    here, which all contexts share; gradients are summed over them already.
    """

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        """Return what the group has under the same name as the module."""
        if name not in _OF_THE_MODULE:
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        return getattr(self._module, name)

    @property
    def slices(self) -> list[slice]:
        """The rows of a batch that each context computes."""
        executor = self._executor
        if isinstance(executor, ExecutorGroup):
            return [slice(*bounds) for bounds in executor.row_bounds]
        return [slice(0, self.batch_size)]

    @property
    def _executor(self) -> AnyExecutor:
        executor: AnyExecutor = self._module.executor
        return executor

    @property
    def execs(self) -> list[ExecutorOnContext]:
        """The executor of each context."""
        executor = self._executor
        return executor.parts if isinstance(executor, ExecutorGroup) else [executor]

    @property
    def symbol(self) -> Any:
        """The network."""
        return self._module.symbol

    @property
    def contexts(self) -> list[Context]:
        """The contexts."""
        return list(self._module._context)

    @property
    def arg_names(self) -> list[str]:
        """Names of all arguments of the network, in the order of ``execs[i].grad_arrays``."""
        return list(self._module.symbol.list_arguments())

    @property
    def param_names(self) -> list[str]:
        """Names of the parameters, in the order of ``param_arrays``."""
        return list(self._module.param_names)

    @property
    def aux_names(self) -> list[str]:
        """Names of the auxiliary states, in the order of ``aux_arrays``."""
        return list(self._executor.aux_dict)

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""
        return batch_size_of(self._module.data_shapes)

    @property
    def param_arrays(self) -> list[list[NDArray]]:
        """The parameters."""
        return [[self._executor.arg_dict[n]] for n in self.param_names]

    @property
    def grad_arrays(self) -> list[list[NDArray | None]]:
        """The gradients of the parameters; None for fixed ones."""
        grads = self._executor.grad_dict
        return [[grads[n]] for n in self.param_names]

    @property
    def aux_arrays(self) -> list[list[NDArray]]:
        """The auxiliary states."""
        return [[array] for array in self._executor.aux_dict.values()]

    @property
    def input_grad_arrays(self) -> list[list[NDArray | None]]:
        """The gradients of the data."""
        grads = self._executor.grad_dict
        return [[grads[n]] for n in self._module.data_names]

    @property
    def data_arrays(self) -> list[list[tuple[slice, NDArray]]]:
        """The data inputs, each with the rows that it holds."""
        return self._inputs(self._module.data_names)

    @property
    def label_arrays(self) -> list[list[tuple[slice, NDArray]]]:
        """The labels, each with the rows that it holds."""
        return self._inputs(self._module.label_names)

    def _inputs(self, names: list[str]) -> list[list[tuple[slice, NDArray]]]:
        rows = slice(0, self.batch_size)
        return [[(rows, self._executor.arg_dict[n])] for n in names]
