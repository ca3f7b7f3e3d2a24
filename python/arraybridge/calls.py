# SPDX-License-Identifier: MIT
"""The built-ins of the native module, with their types. Their texts are in python/native/module.c."""

from __future__ import annotations

from ._library import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    from .description import ArrayDescription
    from .steps import Plan

    Sharing = Literal["share", "copy"]
    Casting = Literal["no", "equiv", "safe", "same_kind", "unsafe"]
    Scaling = Literal["clip", "unit", "exact", "minmax", "wrap"]

    def convert(
        x: object,
        target: object,
        *,
        device: object = None,
        gpu_id: int | None = None,
        copy: bool | None = None,
        casting: Casting = "no",
        dtype: object = None,
        stream: object = None,
        immutable: Sharing | None = None,
        mutable: Sharing | None = None,
        scaling: Scaling | None = None,
        nan: float | None = None,
    ) -> Any:
        """Hand an array to another framework, sharing its memory where that is possible."""

    def convert_memory(
        data: object,
        source_type: object,
        target_type: object,
        gpu_id: object = None,
        device: object = None,
        *,
        copy: bool | None = None,
        casting: Casting = "no",
        dtype: object = None,
        stream: object = None,
        immutable: Sharing | None = None,
        mutable: Sharing | None = None,
        scaling: Scaling | None = None,
        nan: float | None = None,
    ) -> Any:
        """Hand ``data``, an array of ``source_type``, to ``target_type``."""

    def plan(
        x: object,
        target: object,
        *,
        device: object = None,
        gpu_id: int | None = None,
        copy: bool | None = None,
        casting: Casting = "no",
        dtype: object = None,
        stream: object = None,
        immutable: Sharing | None = None,
        mutable: Sharing | None = None,
        scaling: Scaling | None = None,
        nan: float | None = None,
    ) -> Plan:
        """Say what ``convert`` would do with the same arguments, without touching elements."""

    def detect_memory_type(data: object) -> str:
        """Name the backend that owns ``data``."""

    def describe(x: object) -> ArrayDescription:
        """Say what an array is, without touching its elements."""

    def prepare() -> None:
        """Prepare device drivers so that libraries imported later cannot disturb them."""

    def drain() -> None:
        """Release now what waits for its turn."""

    def pending() -> tuple[int, int]:
        """Number of releases that wait for their turn, and the bytes they hold back."""

    def release_pools() -> int:
        """Give back the pinned host memory that transfers have kept; bytes."""

    def record_stream(x: object, stream: object) -> None:
        """Declare that work on ``stream``, which no conversion has named, uses the memory of ``x``."""

else:
    convert = native.convert
    convert_memory = native.convert_memory
    plan = native.plan
    detect_memory_type = native.detect_memory_type
    describe = native.describe
    prepare = native.prepare
    drain = native.drain
    pending = native.pending
    record_stream = native.record_stream
    release_pools = native.release_pools


# What the native module calls when it needs it; nothing of it is imported before.


def _error(
    unknown_backend: bool, source: str, target: str, method: str, reason: str, hint: str, status: str
) -> Exception:
    from .advice import advice
    from .errors import MemoryConversionError, UnknownBackendError

    kind = UnknownBackendError if unknown_backend else MemoryConversionError
    return kind(source, target, method, reason, advice(target, reason, hint, status), status)


def _meant(what: str, word: str) -> str:
    from .advice import question

    return question(what, word)


def _announced() -> list[str]:
    from .announced import announced_paths

    return announced_paths()


def _plan(values: dict[str, Any]) -> Plan:
    from .steps import Plan

    return Plan(values)


def _description(values: dict[str, Any]) -> ArrayDescription:
    from .description import ArrayDescription

    return ArrayDescription(values)


native.connect({
    "error": _error, "announced": _announced, "meant": _meant, "plan": _plan, "describe": _description,
})  # fmt: skip
