"""Streams that are busy for a known time, and schedules tried many times over.

An attempt's array holds the attempt's number, so that memory of an earlier attempt, which allocators hand out again, is
never right by accident.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from .gpu_arrays import arraybridge, jax, np, torch

SIZE = 1 << 20
"""Elements of float32: 4 MiB, more than the allocators' small blocks."""

SHORTEST, LONGEST = 5.0, 50.0
"""How long a stream is busy, ms."""


# ---------------------------------------------------------------- being busy


def _cycles_per_ms() -> float:
    """How fast the counter is that ``torch.cuda._sleep`` watches."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    cycles = 20_000_000
    torch.cuda._sleep(1000)
    begin.record()
    torch.cuda._sleep(cycles)
    end.record()
    end.synchronize()
    return float(cycles / begin.elapsed_time(end))


CYCLES = _cycles_per_ms()


def sleep(stream: Any, milliseconds: float) -> None:
    """Keeps a stream of torch's busy; returns at once."""
    with torch.cuda.stream(stream):
        torch.cuda._sleep(int(CYCLES * milliseconds))


def torch_view(stream: Any) -> Any:
    """torch's object for a stream of CuPy's, for use by these tests alone."""
    return torch.cuda.ExternalStream(stream.ptr) if stream.ptr else torch.cuda.default_stream()


def durations(attempts: int) -> Iterator[tuple[int, float]]:
    """Number of the attempt, and how long it keeps its stream busy: all lengths, short ones more often, in no order."""
    lengths = SHORTEST * (LONGEST / SHORTEST) ** np.random.default_rng(7).random(attempts)
    return ((number, float(length)) for number, length in enumerate(lengths, 1))


# A hundred products, one after the other: XLA orders its work itself, and this keeps it busy.
_WORK = jax.jit(lambda a: jax.lax.fori_loop(0, 100, lambda _, b: (a @ b) * 1e-3, a))
_ADD = jax.jit(lambda x, work, value: x * 0 + value + work.ravel()[0] * 0)
_READ = jax.jit(lambda x, work: x + work.ravel()[0] * 0)


class BusyJax:
    """JAX's compute order, kept busy by products whose result the next step needs."""

    def __init__(self) -> None:
        self._matrix = jax.device_put(np.full((1024, 1024), 1e-3, np.float32), jax.devices("gpu")[0])
        start = 0.0
        for _ in range(3):  # the first compiles
            start = time.perf_counter()
            _WORK(self._matrix).block_until_ready()
        self.milliseconds = (time.perf_counter() - start) * 1e3
        self._zeros = jax.device_put(np.zeros(SIZE, np.float32), jax.devices("gpu")[0])
        _ADD(self._zeros, self._matrix, 1.0).block_until_ready()
        _READ(self._zeros, self._matrix).block_until_ready()

    def _work(self, milliseconds: float) -> Any:
        result = self._matrix
        for _ in range(max(1, round(milliseconds / self.milliseconds))):
            result = _WORK(result)
        return result

    def make(self, value: float, milliseconds: float) -> Any:
        """An array full of ``value``, once the work is done."""
        return _ADD(self._zeros, self._work(milliseconds), float(value))

    def read(self, array: Any, milliseconds: float) -> Any:
        """A copy of an array, made once the work is done."""
        return _READ(array, self._work(milliseconds))


# ---------------------------------------------------------------- many attempts


def all_equal(array: Any, value: float) -> bool:
    """Whether each element of an array, which is ready, has this value."""
    return bool((array == value).all())


def count_right(attempts: int, schedule: Callable[[int, float], Any]) -> int:
    """Tries a schedule so many times; how often its result was the attempt's number throughout."""
    right = 0
    for number, milliseconds in durations(attempts):
        result = schedule(number, milliseconds)
        torch.cuda.synchronize()
        right += all_equal(result, number)
        del result
        arraybridge.drain()
    return right
