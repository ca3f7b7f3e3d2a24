# SPDX-License-Identifier: MIT
"""The keywords of a decorator, and what is wrong with them."""

from __future__ import annotations

from enum import Enum
from operator import index
from typing import NamedTuple

from ._library import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .policy import Policy


class Said(NamedTuple):
    """The keywords of a decorator, as they were given."""

    input_type: object
    output_type: object
    contract: object = None
    oom_recovery: bool = True
    slice_by_slice_default: bool = False
    dtype_config_default: object = None
    convert: bool | str | Iterable[str] = True
    device: object = None
    gpu_id: int | None = None
    dtype_conversion: object = None
    scaling: str | None = None
    nan: float | None = None
    labels: bool | None = None
    casting: str = "same_kind"
    max_retries: int | None = None
    host_fallback: bool | None = None
    idempotent: bool = True
    progress: Any = None
    controls: bool = True
    preserves: bool = True
    batch: int | None = None
    stream: object = None


#: What makes an object a stream: the protocol, torch, CuPy.
_STREAM_NAMES = ("__cuda_stream__", "cuda_stream", "ptr")

# ---------------------------------------------------------------- reading what was said


def name_of_type(memory_type: object) -> str:
    """The name of a backend: of a str, or of an enum member whose value is one."""
    value = getattr(memory_type, "value", memory_type)
    if not isinstance(value, str):
        raise TypeError(f'a memory type is the name of a backend, such as "torch", not {memory_type!r}')
    return str(value)


def _check_contract(contract: object) -> None:
    """A callable, or a declaration that some runtime reads: a member of an enum, an object of a class of its own."""
    if contract is None or callable(contract) or isinstance(contract, Enum):
        return
    if type(contract).__module__ == "builtins":
        raise TypeError(
            "contract must be callable: contract(result) tells whether a result is good; or a declaration that your "
            f"runtime reads, a member of an enum or an object of a class of yours; not {contract!r}"
        )


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")


def _check_count(name: str, value: Any, least: int) -> None:
    problem = f"{name} must be a whole number from {least}, not {value!r}"
    try:
        number = index(value)
    except TypeError:
        raise TypeError(problem) from None
    if isinstance(value, bool) or number < least:
        raise ValueError(problem)


def _check_number(name: str, value: Any) -> None:
    if value is not None:
        _check_count(name, value, 0)


def _check_retries(value: Any) -> None:
    _check_number("max_retries", value)
    if value is not None and index(value) > 1000:
        raise ValueError(f"max_retries must be a number from 0 (never again) to 1000, not {value!r}")


def _check_place(device: object, gpu_id: Any) -> None:
    if device is not None and gpu_id is not None:
        raise TypeError("device and gpu_id both say where: give one")
    _check_number("gpu_id", gpu_id)
    label = getattr(device, "label", device)
    asks_backend = isinstance(label, str) and label.startswith(("accelerator:", "device:"))
    if device is not None and not asks_backend:
        native.read_device(device)


def _check_stream(stream: object) -> None:
    if stream is None or stream is False:
        return
    if stream is not True and (hasattr(stream, "__index__") or any(hasattr(stream, name) for name in _STREAM_NAMES)):
        return
    raise TypeError(
        "stream must be None (one of ours), False (the caller's), a CUDA stream handle, or an object with "
        f"__cuda_stream__, cuda_stream or ptr, not {stream!r}"
    )


def check_said(said: Said) -> None:
    _check_contract(said.contract)
    for name in ("oom_recovery", "slice_by_slice_default", "idempotent"):
        _check_flag(name, getattr(said, name))
    for name in ("host_fallback", "labels"):
        if getattr(said, name) is not None:
            _check_flag(name, getattr(said, name))
    _check_retries(said.max_retries)
    _check_place(said.device, said.gpu_id)
    _check_stream(said.stream)
    if said.batch is not None:
        _check_count("batch", said.batch, 1)
    if said.progress is not None and not isinstance(said.progress, bool) and not callable(said.progress):
        raise TypeError(f"progress must be True, False or a callable, not {said.progress!r}")


def policy_of(said: Said) -> Policy | None:
    """What the decorator says of dtypes; None: nothing."""
    words = (said.dtype_conversion, said.dtype_config_default, said.scaling, said.nan, said.labels)
    if all(word is None for word in words):
        return None
    from .policy import read_policy

    return read_policy(*words, said.casting)
