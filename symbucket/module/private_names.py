"""Private names of MXNet's modules that scripts use, as properties over what is here."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from symbucket.context import Context
from symbucket.module.executor_group import DataParallelExecutorGroup
from symbucket.optimizer import Optimizer
from symbucket.runtime import NDArray


class ModuleNames:
    """The private names of a Module; they are None or empty before ``bind``."""

    @property
    def _symbol(self: Any) -> Any:
        return self.symbol

    @property
    def _optimizer(self: Any) -> Optimizer | None:
        return self.updater.optimizer if self.optimizer_initialized else None

    @property
    def _updater(self: Any) -> Any:
        return self.updater if self.optimizer_initialized else None

    _kvstore = None
    _update_on_kvstore = False

    @property
    def _arg_params(self: Any) -> Mapping[str, NDArray] | None:
        return self.store.args if self.binded else None

    @property
    def _aux_params(self: Any) -> Mapping[str, NDArray] | None:
        return self.store.aux if self.binded else None

    @property
    def _data_names(self: Any) -> list[str]:
        return list(self.data_names)

    @property
    def _label_names(self: Any) -> list[str]:
        return list(self.label_names)

    @property
    def _fixed_param_names(self: Any) -> list[str]:
        return list(self.network.fixed_param_names)

    @property
    def _output_names(self: Any) -> list[str]:
        return list(self.output_names)

    @property
    def _data_shapes(self: Any) -> Any:
        return self.data_shapes if self.binded else None

    @property
    def _label_shapes(self: Any) -> Any:
        return self.label_shapes if self.binded else None

    @property
    def _param_names(self: Any) -> list[str]:
        names: list[str] = self.param_names
        return names

    @property
    def _aux_names(self: Any) -> list[str]:
        names: list[str] = self.network.aux_names
        return names

    @property
    def _context(self: Any) -> list[Context]:
        return list(self._contexts.contexts)

    @property
    def _grad_req(self: Any) -> Any:
        return self._binding.request.grad_req if self.binded else None

    @property
    def _exec_group(self: Any) -> DataParallelExecutorGroup | None:
        return DataParallelExecutorGroup(self) if self.binded else None


class BucketingNames:
    """The private names of a BucketingModule."""

    @property
    def _default_bucket_key(self: Any) -> Hashable:
        key: Hashable = self.default_bucket_key
        return key

    @property
    def _sym_gen(self: Any) -> Any:
        return self._factory.sym_gen

    @property
    def _context(self: Any) -> list[Context]:
        return list(self._factory.context)

    @property
    def _curr_bucket_key(self: Any) -> Any:
        return self._binding.current_key if self.binded else None

    @property
    def _curr_module(self: Any) -> Any:
        return self._binding.current if self.binded else None

    @property
    def _buckets(self: Any) -> Mapping[Hashable, Any]:
        return self._binding.modules if self.binded else {}

    @property
    def _optimizer(self: Any) -> Optimizer | None:
        return self.updater.optimizer if self.optimizer_initialized else None
