# SPDX-License-Identifier: MIT
"""Streams of the calling thread, as older decorators offered them."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["ThreadGPUContext"]


class ThreadGPUContext:
    """A CuPy and a torch stream, made when first asked for; None without a GPU.

    Decorated functions do not need it: their order against the caller's streams is kept for them.
    """

    def __init__(self) -> None:
        self.cupy_stream: Any = None
        self.torch_stream: Any = None
        self.tensorflow_device: Any = None
        self.jax_device: Any = None

    def get_cupy_stream(self) -> Any:
        """This context's CuPy stream."""
        if self.cupy_stream is None:
            from .utils import optional_import

            cupy = optional_import("cupy")
            if cupy and cupy.cuda.is_available():
                self.cupy_stream = cupy.cuda.Stream(non_blocking=True)
        return self.cupy_stream

    def get_torch_stream(self) -> Any:
        """This context's torch stream."""
        if self.torch_stream is None:
            from .utils import optional_import

            torch = optional_import("torch")
            if torch and torch.cuda.is_available():
                self.torch_stream = torch.cuda.Stream()
        return self.torch_stream


_of_thread = threading.local()


def _get_thread_gpu_context() -> ThreadGPUContext:
    """The calling thread's context, always the same one."""
    context: ThreadGPUContext | None = getattr(_of_thread, "context", None)
    if context is None:
        context = _of_thread.context = ThreadGPUContext()
    return context
