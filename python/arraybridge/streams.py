# SPDX-License-Identifier: MIT
"""The stream that a framework works on for a while."""

from __future__ import annotations

from ._library import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


class stream:
    """Make a CUDA stream the one that a framework works on, in this thread, until the end of the block.

    It first waits for what the framework has enqueued on the stream that was current; at the end that stream waits for
    it, and is current again, errors included. Events, no waiting of the host. Decorated functions do this by
    themselves.

    Parameters
    ----------
    target : str or enum member
        The framework: ``"torch"``, ``"cupy"``, or a plugin's that can be given streams. Frameworks that order their
        work by themselves (JAX) are left to it.
    device : str or object, optional
        ``"cuda:1"``. None: the stream's if it says so, else the framework's current CUDA device.
    stream : int or stream object, optional
        A CUDA stream handle, which must last as long as the block, or an object with ``__cuda_stream__``,
        ``cuda_stream`` or ``ptr``. None: one of a fixed set that frameworks share, so that nothing between two of them
        need wait; a thread gets the same one again whenever it is free.

    Raises
    ------
    MemoryConversionError
        On entry: the framework has no such device, cannot work on this stream, or one of the streams is being captured.
    RuntimeError
        On exit: blocks must end in their own thread, the last one first. asyncio tasks that wait inside do not.

    Examples
    --------
    >>> with arraybridge.stream("torch") as s, arraybridge.stream("cupy", stream=s):
    ...     y = model(arraybridge.convert(x, "torch"))
    """

    __slots__ = ("_device", "_scopes", "_stream", "_target")

    def __init__(self, target: object, device: object = None, stream: object = None) -> None:
        self._target = target
        self._device = device
        self._stream = stream
        self._scopes: list[Any] = []

    def __enter__(self) -> stream:
        self._scopes.append(native.enter_scope(self._target, self._device, self._stream))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        scope = self._scopes[-1]
        if scope is not None:
            native.exit_scope(scope)
        self._scopes.pop()

    def _shown(self) -> tuple[int, int]:
        scope = self._scopes[-1] if self._scopes else None
        if scope is None:
            raise RuntimeError("there is a stream only inside the block, and where the framework takes one")
        shown: tuple[int, int] = native.scope_stream(scope)
        return shown

    def __cuda_stream__(self) -> tuple[int, int]:
        """The stream for whoever asks by the protocol, inside the block: (version of the protocol, handle)."""
        return 0, self._shown()[0]

    @property
    def device_id(self) -> int:
        """The number of its CUDA device, inside the block."""
        return self._shown()[1]
