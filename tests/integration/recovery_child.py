"""What test_recovery.py runs in processes of their own: real out-of-memory, and recovery from it."""

from __future__ import annotations

import gc
import resource
import sys
from typing import Any

import arraybridge
import near_misses
import numpy as np
from arraybridge.recovery import Recovery

MIB = 1 << 20
ABSURD = 1 << 45
FRAMEWORKS = ["numpy", "torch", "jax", "tensorflow"]


def address_space() -> int:
    """Size of the address space in use, bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def limit_to(more: int) -> None:
    """From now on the address space may grow by `more` bytes."""
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + more, resource.RLIM_INFINITY))


def ones(framework: str, bytes_wanted: int) -> Any:
    """An array of float32 of the framework, on the host, whose memory has been written."""
    count = bytes_wanted // 4
    if framework == "numpy":
        return np.ones(count, np.float32)
    if framework == "torch":
        import torch

        return torch.ones(count)
    if framework == "jax":
        import jax

        with jax.default_device(jax.devices("cpu")[0]):
            return jax.numpy.ones(count, "float32").block_until_ready()
    import tensorflow as tf

    return tf.ones(count)


def warm(*frameworks: str) -> None:
    """Starts frameworks, ours included: their threads and pools take address space of their own."""
    for framework in frameworks:
        ones(framework, 4 * MIB)
        arraybridge.convert(ones(framework, 4096), "numpy", copy=True)
    arraybridge.memory_report()
    gc.collect()


def _raised(call: Any) -> list[Any]:
    try:
        call()
    except BaseException as error:
        return [type(error).__name__, str(error)[:200], arraybridge.is_out_of_memory(error)]
    return ["nothing", "", False]


def real_error(framework: str, way: str) -> list[Any]:
    """Runs out of memory for real; gives the exception's type and text, and what we think of it."""
    warm(framework)
    if way == "absurd":
        return _raised(lambda: ones(framework, 4 * ABSURD))
    limit_to(300 * MIB)
    return _raised(lambda: ones(framework, 900 * MIB))


def of_another(way: str) -> list[Any]:
    """One framework dies of another's error."""
    import tensorflow as tf

    warm("tensorflow", "numpy", "torch")
    limit_to(300 * MIB)
    calls = {
        "tensorflow_of_numpy": lambda: tf.constant([[0.0] * 64] * 16).numpy().repeat(ABSURD // 64),
        "bytearray": lambda: bytearray(900 * MIB),
        "wrapped": lambda: _wrapped(),
        "mmap": lambda: __import__("mmap").mmap(-1, 900 * MIB),
    }
    return _raised(calls[way])


def _wrapped() -> None:
    try:
        np.ones(900 * MIB, np.uint8)
    except MemoryError as error:
        raise RuntimeError("the filter failed") from error


def pyclesperanto_too_large() -> list[Any]:
    """A buffer beyond the largest allocation of the device: the only real one that pyclesperanto survives."""
    import pyclesperanto as cle

    warm("numpy")
    cle.create((4, 4))
    recovery = Recovery(max_retries=2, slices=8)
    try:
        cle.create((1 << 20, 1 << 14, 1 << 6), dtype=np.float32)
    except Exception as error:
        return [str(error)[:200], arraybridge.is_out_of_memory(error), recovery.decide(error), recovery.batch]
    return ["nothing", False, "", 0]


# ---------------------------------------------------------------- recovery


class Node:
    """Something that can be part of a reference cycle."""

    held: Any
    me: Any


def hold_in_cycle(framework: str, bytes_wanted: int) -> None:
    """Leaves an array that only a reference cycle holds."""
    node = Node()
    node.held = ones(framework, bytes_wanted)
    node.me = node


def hold_in_dead_frames(framework: str, bytes_wanted: int) -> None:
    """Leaves an array that only the frames of an exception hold which nobody can reach: it is part of its own frame."""
    array = ones(framework, bytes_wanted)
    try:
        raise ValueError(f"done with {type(array).__name__}")
    except ValueError as error:
        kept = error  # noqa: F841  the cycle: the frame holds the exception, its traceback the frame


def recovers(holder: str, worker: str, hold: str, recovery: bool) -> list[Any]:
    """400 MiB of `holder` that only garbage holds, no collection, and room for `worker`'s 400 MiB but not for both."""
    gc.disable()
    warm(holder, worker)
    calls = 0

    def work() -> int:
        nonlocal calls
        calls += 1
        return int(arraybridge.convert(ones(worker, 400 * MIB), "numpy").nbytes) // MIB

    {"cycle": hold_in_cycle, "frames": hold_in_dead_frames}[hold](holder, 400 * MIB)
    limit_to(250 * MIB)
    try:
        done = arraybridge.run_with_recovery(work, max_retries=2) if recovery else work()
    except Exception as error:
        return ["failed", calls, arraybridge.is_out_of_memory(error)]
    return [done, calls, True]


def own_frames() -> list[Any]:
    """Somebody keeps the failed call's exception, whose frames hold what the next call needs: they are emptied."""
    warm("numpy")
    limit_to(600 * MIB)
    kept: list[BaseException] = []

    def work() -> int:
        mine = ones("numpy", 400 * MIB)
        if not kept:
            try:
                ones("numpy", 400 * MIB)
            except MemoryError as error:
                kept.append(error)
                raise
        return int(mine.nbytes) // MIB

    return [arraybridge.run_with_recovery(work), len(kept)]


def conversion() -> list[Any]:
    """A conversion itself recovers: its copy finds room once the garbage is collected."""
    gc.disable()
    warm("numpy", "torch")
    source = np.ones(300 * MIB // 4, np.float32)
    hold_in_cycle("torch", 300 * MIB)
    limit_to(150 * MIB)
    with arraybridge.records() as log:
        copied = arraybridge.convert(source, "torch", copy=True)
    return [copied.numel() * 4 // MIB, len(log)]


def conversion_fails() -> list[Any]:
    """A conversion for which there is no room whatever is cleared: an error of ours that says so."""
    warm("numpy", "torch")
    source = np.broadcast_to(np.ones(1, np.float32), (1 << 20, 1 << 20))
    try:
        arraybridge.convert(source, "torch", copy=True)
    except arraybridge.MemoryConversionError as error:
        return [error.status, arraybridge.is_out_of_memory(error)]
    return ["nothing", False]


def slices_under_a_limit(framework: str) -> list[Any]:
    """A function of stacks for which there is room four slices at a time, not sixteen: halved until it fits."""
    warm(framework, "numpy")
    sizes: list[int] = []

    @arraybridge.backend(framework)(output_type="numpy", batch=16, max_retries=1)
    def work(stack: Any) -> Any:
        sizes.append(int(stack.shape[0]))
        room = ones(framework, 40 * MIB * sizes[-1])
        return stack + float(room[0])

    stack = np.zeros((16, 4, 4), np.float32)
    work(stack[:1], slice_by_slice=True)
    sizes.clear()
    limit_to(300 * MIB)
    result = work(stack, slice_by_slice=True)
    return [sizes, bool((result == 1).all())]


def slices_too_large() -> list[Any]:
    """pyclesperanto beyond its largest allocation: halved at once, without a retry, then the error itself."""
    import pyclesperanto as cle

    warm("numpy")
    sizes: list[int] = []

    @arraybridge.pyclesperanto(output_type="numpy", batch=8)
    def work(stack: Any) -> Any:
        sizes.append(int(stack.shape[0]))
        if sizes[-1] > 2:
            cle.create((1 << 20, 1 << 14, 1 << 6), dtype=np.float32)
        return stack

    stack = np.arange(128, dtype=np.float32).reshape(8, 4, 4)
    result = work(stack, slice_by_slice=True)
    return [sizes, bool((result == stack).all())]


# ---------------------------------------------------------------- judging


def judge_all(kind: str) -> dict[str, bool]:
    """Our verdict on each text, by name."""
    import jax  # noqa: F401
    import tensorflow as tf  # noqa: F401
    import torch  # noqa: F401

    cases = {"near": near_misses.NEAR_MISSES, "real": near_misses.REAL_TEXTS}[kind]
    return {name: arraybridge.is_out_of_memory(make()) for name, make in cases.items()}


def report_starts_nothing() -> list[Any]:
    """What JAX and TensorFlow have started after a report, and which frameworks it calls idle."""
    import jax._src.xla_bridge as bridge
    from tensorflow.python.eager import context

    arraybridge.memory_report(clear=True)
    rows = {row.backend: row.idle for row in arraybridge.memory_report()}
    return [sorted(bridge._backends), context._context is None or context._context._context_handle is None, rows]


if __name__ == "__main__":
    print(globals()[sys.argv[1]](*sys.argv[2:]))
