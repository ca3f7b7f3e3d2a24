"""One way to run out of a GPU's memory, in a process of its own: prints what happened as JSON.

    memory_child.py CASE

Sizes are shares of what is free at the start. Free memory is the driver's own figure.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import arraybridge
import cupy
import numpy as np
import torch

MEBIBYTE = 1 << 20


def free() -> int:
    """What the driver says is free, bytes."""
    torch.cuda.synchronize()
    return int(torch.cuda.mem_get_info()[0])


START = 0


def share(of: float) -> int:
    """That share of what was free at the start: whole MiB, bytes."""
    return int(START * of) // MEBIBYTE * MEBIBYTE


# ---------------------------------------------------------------- holding and wanting


def torch_array(size: int) -> Any:
    """So many bytes of torch's."""
    return torch.empty(size, dtype=torch.uint8, device="cuda")


def cupy_array(size: int) -> Any:
    """So many bytes of CuPy's."""
    return cupy.empty(size, cupy.uint8)


def jax_array(size: int) -> Any:
    """So many bytes of JAX's, there."""
    import jax
    import jax.numpy as jnp

    return jnp.ones(size, jnp.uint8, device=jax.devices("gpu")[0]).block_until_ready()


ARRAY: dict[str, Callable[[int], Any]] = {"torch": torch_array, "cupy": cupy_array, "jax": jax_array}


def cached(holder: str, size: int) -> None:
    """The framework keeps so much for later; no array is alive."""
    array = ARRAY[holder](size)
    del array
    gc.collect()


def decorated(worker: str, size: int) -> Any:
    """A function of the framework that needs so many bytes; its argument is on the device, in torch."""

    @arraybridge.backend(worker)(dtype_conversion="native")
    def work(small: Any) -> Any:
        large = ARRAY[worker](size)
        large[-1:]  # it is there
        del large
        return small

    return work(torch.ones(16, device="cuda"))


def own_back(worker: str) -> None:
    """The worker gives its cache back, so that only the holder's counts; JAX cannot."""
    if worker == "torch":
        torch.cuda.empty_cache()
    elif worker == "cupy":
        cupy.get_default_memory_pool().free_all_blocks()


# ---------------------------------------------------------------- cases


def recovered(holder: str, worker: str) -> dict[str, Any]:
    """One framework caches three quarters, a function of another one needs half."""
    if worker == "jax":
        jax_array(MEBIBYTE)  # what it takes for itself
    cached(holder, share(0.75))
    before = free()
    result = decorated(worker, share(0.5))
    own_back(worker)
    after = free()
    taken = share(0.5) if worker == "jax" else 0  # stays in JAX's pool
    return {"before": before, "after": after, "came_back": after + taken - before, "wanted_back": share(0.6),
            "right": bool(arraybridge.convert(result, "numpy").sum() == 16)}  # fmt: skip


def converted(holder: str, target: str) -> dict[str, Any]:
    """One framework caches nearly all, a conversion from the host needs more than is left."""
    size = share(0.08)
    host = np.zeros(size, np.uint8)  # its pages are one page of zeros: quick, and no memory of the host
    host[:: size // 16] = 7
    cached(holder, share(0.95))
    before = free()
    result = arraybridge.convert(host, target, device="cuda:0")
    right = int(result.sum()) == 7 * int((host[:: size // 16] == 7).sum())
    after = free()
    return {"before": before, "after": after, "came_back": after + size - before, "wanted_back": share(0.8),
            "right": right}  # fmt: skip


def retried(holder: str, worker: str) -> dict[str, Any]:
    """The same without a decorator."""
    if worker == "jax":
        jax_array(MEBIBYTE)
    cached(holder, share(0.75))
    before = free()
    array = arraybridge.run_with_recovery(ARRAY[worker], share(0.5))
    right = int(array.nbytes) == share(0.5)
    after = free()
    return {"before": before, "after": after, "came_back": after + share(0.5) - before, "wanted_back": share(0.6),
            "right": right}  # fmt: skip


def pending(holder: str, worker: str) -> dict[str, Any]:
    """Memory that only waits for the consumer's work is drained before anybody gives up."""
    before = free()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        imported = arraybridge.convert(torch_array(share(0.6)), "cupy")
        with torch.cuda.stream(torch.cuda.ExternalStream(stream.ptr)):
            torch.cuda._sleep(200_000_000)
        last = imported[-1:] + 0
        del imported
    waiting = arraybridge.pending()[1]
    array = arraybridge.run_with_recovery(torch_array, share(0.7))
    right = int(array.nbytes) == share(0.7) and waiting >= share(0.6)
    del array, last
    torch.cuda.empty_cache()
    return {"before": before, "after": free(), "came_back": waiting, "wanted_back": share(0.6), "right": right}


def unrecoverable(holder: str, worker: str) -> dict[str, Any]:
    """Memory that is in use cannot come back: the framework's own error, with who holds what."""
    held = ARRAY[holder](share(0.7))
    before = free()
    try:
        arraybridge.run_with_recovery(ARRAY[worker], share(0.6))
    except Exception as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        right = arraybridge.is_out_of_memory(error) and holder in notes
        kind = f"{type(error).__module__}.{type(error).__qualname__}"
        return {"before": before, "after": free(), "came_back": 0, "wanted_back": 0, "right": right, "error": kind,
                "notes": notes, "held": int(held.nbytes)}  # fmt: skip
    return {"before": before, "after": free(), "came_back": 0, "wanted_back": 0, "right": False}


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    "a cupy function while torch caches": lambda: recovered("torch", "cupy"),
    "a torch function while cupy caches": lambda: recovered("cupy", "torch"),
    "a jax function while torch caches": lambda: recovered("torch", "jax"),
    "a jax function while cupy caches": lambda: recovered("cupy", "jax"),
    "numpy to cupy while torch caches": lambda: converted("torch", "cupy"),
    "numpy to torch while cupy caches": lambda: converted("cupy", "torch"),
    "cupy without a decorator while torch caches": lambda: retried("torch", "cupy"),
    "torch while releases wait": lambda: pending("torch", "torch"),
    "torch while cupy uses": lambda: unrecoverable("cupy", "torch"),
}


def main() -> None:
    """Runs one case."""
    global START
    ARRAY["torch"](MEBIBYTE)
    ARRAY["cupy"](MEBIBYTE)
    START = free()
    found = CASES[sys.argv[1]]()
    if "error" not in found:
        found["error"] = ""
    print(json.dumps({"free at the start": START, **found}))


if __name__ == "__main__":
    main()
