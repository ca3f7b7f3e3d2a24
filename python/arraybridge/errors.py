# SPDX-License-Identifier: MIT
"""What a conversion raises."""

from __future__ import annotations


def _message(source: str, target: str, reason: str, hint: str) -> str:
    arrow = " -> ".join(name for name in (source, target) if name)
    text = f"{arrow}: {reason}" if arrow else reason
    return f"{text}; {hint}" if hint else text


class MemoryConversionError(Exception):
    """A conversion that could not be done. The framework's own exception, if there is one, is its ``__cause__``.

    Parameters
    ----------
    source_type, target_type : str
        Names of the backends; of the type, where no backend owns the source; empty where there is none.
    method : str
        What was being done: ``"convert"``, ``"plan"``, ``"detect"``, ``"device"``, …
    reason : str
        What failed, with which value.
    hint : str
        What to do about it; may be empty.
    status : str
        The core's name of the reason: ``"WOULD_COPY"``, ``"WOULD_CAST"``, ``"NO_DEVICE"``, ``"OOM"``, …
    """

    def __init__(
        self,
        source_type: str,
        target_type: str,
        method: str,
        reason: str,
        hint: str = "",
        status: str = "UNSUPPORTED",
    ) -> None:
        super().__init__(_message(str(source_type), str(target_type), str(reason), str(hint)))
        self.source_type = source_type
        self.target_type = target_type
        self.method = method
        self.reason = reason
        self.hint = hint
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by the six arguments: ``args`` holds the message alone."""
        return (
            type(self),
            (self.source_type, self.target_type, self.method, self.reason, self.hint, self.status),
        )


class UnknownBackendError(MemoryConversionError, ValueError):
    """No backend has that name. A ValueError, too, as it was in arraybridge 0.2 and 0.5."""
