# SPDX-License-Identifier: MIT
"""The keywords of decorated calls as declarations that a pipeline can read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from arraybridge.policy import DtypeConversion

__all__ = [
    "PRESERVE_INPUT_DTYPE_CONFIG",
    "DtypeConversionConfig",
    "PreserveInputDtypeConfig",
    "SliceBySliceRuntimeParameter",
]


class _KeywordDeclaration(ABC):
    """One keyword that decorators add."""

    preserve_for_execution = False
    is_semantic_control = False

    @classmethod
    @abstractmethod
    def require_parameter_name(cls) -> str:
        """The keyword's name."""

    @classmethod
    @abstractmethod
    def default_value(cls) -> Any:
        """What a call that does not say it gets."""

    @classmethod
    @abstractmethod
    def annotation_type(cls) -> Any:
        """Its annotation in signatures."""

    @classmethod
    def parameter(cls, *, default_value: Any = None) -> Parameter:
        """The keyword as a parameter of a signature."""
        default = cls.default_value() if default_value is None else default_value
        return Parameter(
            cls.require_parameter_name(), Parameter.KEYWORD_ONLY, default=default, annotation=cls.annotation_type()
        )


class DtypeConversionConfig(_KeywordDeclaration):
    """What the keyword ``dtype_config`` takes: anything with a ``default_dtype_conversion``. A base for your own."""

    @property
    @abstractmethod
    def default_dtype_conversion(self) -> DtypeConversion:
        """Which dtype results get."""

    @classmethod
    def require_parameter_name(cls) -> str:
        """``"dtype_config"``."""
        return "dtype_config"

    @classmethod
    def default_value(cls) -> Any:
        """``PRESERVE_INPUT_DTYPE_CONFIG``."""
        return PRESERVE_INPUT_DTYPE_CONFIG

    @classmethod
    def annotation_type(cls) -> Any:
        """This class."""
        return DtypeConversionConfig


class SliceBySliceRuntimeParameter(_KeywordDeclaration):
    """The keyword ``slice_by_slice``."""

    preserve_for_execution = True
    is_semantic_control = True

    @classmethod
    def require_parameter_name(cls) -> str:
        """``"slice_by_slice"``."""
        return "slice_by_slice"

    @classmethod
    def default_value(cls) -> bool:
        """False."""
        return False

    @classmethod
    def annotation_type(cls) -> type[bool]:
        """``bool``."""
        return bool


@dataclass(frozen=True, slots=True)
class PreserveInputDtypeConfig(DtypeConversionConfig):
    """Results get the dtype of the first array, unless another conversion is given."""

    default_dtype_conversion: DtypeConversion = DtypeConversion.PRESERVE_INPUT


PRESERVE_INPUT_DTYPE_CONFIG = PreserveInputDtypeConfig()
