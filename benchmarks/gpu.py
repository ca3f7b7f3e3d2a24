"""Times conversions on a GPU beside the frameworks' own calls, interleaved in one run.

Usage::

    python benchmarks/gpu.py [--json FILE] [--rounds 40] [--size GIB] [--strict FACTOR]

One GiB between NumPy and the GPU: throughput against the fastest framework's own call whatever the framework, and of
pinned memory against what the link does in this run. 4x4 arrays between CuPy, torch and JAX: host time of a conversion,
the drop of its result included, against the fastest public call that orders the two streams, on the default streams and
between side streams; calls through ``__cuda_array_interface__`` order nothing (wrong data on busy streams): shown, not
compared. Smaller arrays between NumPy and the GPU follow without bars, against the same framework's own call.

The JSON file is written anew after each row. With ``--strict 1.5`` the exit code is 1 if a ratio misses its bar by more
than that factor. Without an NVIDIA GPU nothing is measured, and the exit code is 0.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Call = Callable[..., Any]
Row = dict[str, Any]
NAMES = ["cupy", "torch", "jax"]
SMALL_BAR, TO_GPU_BAR, TO_HOST_BAR, PINNED_BAR = 0.5, 3.0, 5.0, 0.85
SIZES = [4 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20]


# ---------------------------------------------------------------- timing


def block(call: Call, count: int) -> float:
    """Mean host time of ``count`` calls, ns. The device's work is finished afterwards, outside of it."""
    start = time.perf_counter_ns()
    for _ in range(count):
        call()
    took = (time.perf_counter_ns() - start) / count
    finish()
    return took


def interleaved(calls: list[Call], rounds: int) -> list[float]:
    """The minimum over rounds for each call, ns; the calls take turns, so that noise meets all alike."""
    best = [float("inf")] * len(calls)
    for call in calls:
        block(call, 50)  # the first calls fill caches
    counts = [max(5, min(2000, int(3e6 / max(block(call, 20), 50)))) for call in calls]
    for _ in range(rounds):
        for index, call in enumerate(calls):
            best[index] = min(best[index], block(call, counts[index]))
    return best


def transfer(prepare: Call, call: Call) -> float:
    """Time of one transfer until its result is there, s. Making its argument and dropping its result are outside."""
    argument = prepare()
    finish()
    start = time.perf_counter()
    result = call(argument)
    if hasattr(result, "block_until_ready"):
        result.block_until_ready()
    finish()
    took = time.perf_counter() - start
    del result, argument
    return took


def best_transfers(calls: dict[str, tuple[Call, Call]], rounds: int) -> dict[str, float]:
    """The minimum over rounds for each transfer, s; they take turns."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, (prepare, call) in calls.items():
            best[name] = min(best[name], transfer(prepare, call))
    return best


def usable(call: Call) -> bool:
    """Whether the public call works at all here."""
    try:
        call()
    except Exception:
        return False
    return True


# ---------------------------------------------------------------- rows


def row(name: str, value: float, sense: str, bar: float | None, **more: Any) -> Row:
    """One ratio, and whether it is on the right side of its bar."""
    met = bar is None or (value <= bar if sense == "at most" else value >= bar)
    return {"name": name, "value": value, "sense": sense, "bar": bar, "met": met, **more}


def misses(one: Row, factor: float) -> bool:
    """Whether it misses its bar by more than a factor."""
    if one["bar"] is None:
        return False
    return one["value"] > factor * one["bar"] if one["sense"] == "at most" else one["value"] * factor < one["bar"]


class Results:
    """Tables of rows, in a file after each row."""

    def __init__(self, path: Path | None) -> None:
        self.tables: dict[str, Any] = {}
        self._path = path

    def put(self, table: str, value: Any) -> None:
        """A row of a table; anything else as it is."""
        if isinstance(value, dict) and "sense" in value:
            self.tables.setdefault(table, []).append(value)
        else:
            self.tables[table] = value
        if self._path is None:
            return
        part = self._path.with_name(self._path.name + ".part")
        part.write_text(json.dumps(self.tables, indent=2))
        part.replace(self._path)

    def rows(self) -> list[Row]:
        """All of them."""
        return [one for table in self.tables.values() if isinstance(table, list) for one in table]


# ---------------------------------------------------------------- the frameworks


def has_gpu() -> bool:
    """Whether the driver shows one; no framework is asked."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def load() -> None:
    """Imports what is measured; without a GPU that would take seconds for nothing."""
    global arraybridge, cupy, jax, jnp, np, torch
    import arraybridge
    import cupy
    import jax
    import jax.numpy as jnp
    import numpy as np
    import torch


def finish() -> None:
    """Waits for all work on the device."""
    torch.cuda.synchronize()


def arrays(host: Any) -> dict[str, Any]:
    """The same array in every framework, made by the frameworks."""
    return {
        "cupy": cupy.asarray(host),
        "torch": torch.from_numpy(host).cuda(),
        "jax": jax.device_put(host, jax.devices("gpu")[0]).block_until_ready(),
    }


def public_calls(x: dict[str, Any]) -> dict[tuple[str, str], list[Call]]:
    """The public ways from one framework to another that order their streams."""
    c, t, j = x["cupy"], x["torch"], x["jax"]
    return {
        ("cupy", "torch"): [lambda: torch.from_dlpack(c)],
        ("cupy", "jax"): [lambda: jax.dlpack.from_dlpack(c)],
        ("torch", "cupy"): [lambda: cupy.from_dlpack(t)],
        ("torch", "jax"): [lambda: jax.dlpack.from_dlpack(t)],
        ("jax", "cupy"): [lambda: cupy.from_dlpack(j)],
        ("jax", "torch"): [lambda: torch.from_dlpack(j)],
    }


def unordered_calls(x: dict[str, Any]) -> dict[tuple[str, str], Call]:
    """Through ``__cuda_array_interface__``."""
    return {
        ("cupy", "torch"): lambda: torch.as_tensor(x["cupy"], device="cuda"),
        ("torch", "cupy"): lambda: cupy.asarray(x["torch"]),
    }


# ---------------------------------------------------------------- what is measured


def small(results: Results, rounds: int) -> None:
    """Every arrow with a 4x4 float32: on the default streams, and between side streams."""
    x = arrays(np.ones((4, 4), np.float32))
    sides = {"cupy": cupy.cuda.Stream(non_blocking=True), "torch": torch.cuda.stream(torch.cuda.Stream())}
    unordered = unordered_calls(x)
    for (source, target), calls in public_calls(x).items():
        calls = [call for call in calls if usable(call)]
        if not calls:
            continue
        more = [unordered[source, target]] if (source, target) in unordered else []
        for where in ("default streams", "side streams"):
            with contextlib.ExitStack() as stack:
                for name in {source, target} & sides.keys() if where == "side streams" else ():
                    stack.enter_context(sides[name])
                ours, *theirs = interleaved(
                    [lambda a=x[source], t=target: arraybridge.convert(a, t), *calls, *more], rounds
                )
            public = min(theirs[: len(calls)])
            results.put("small", row(f"{source} -> {target}, 4x4, {where}", ours / public, "at most", SMALL_BAR,
                                     source=source, target=target, ours_ns=ours, public_ns=public,
                                     unordered_ns=min(theirs[len(calls) :], default=None)))  # fmt: skip
            gc.collect()


def to_gpu_calls(host: Any) -> dict[str, Call]:
    """Each framework's own call from NumPy to the GPU."""
    device = jax.devices("gpu")[0]
    return {
        "cupy": lambda _: cupy.asarray(host),
        "torch": lambda _: torch.from_numpy(host).cuda(),
        "jax": lambda _: jax.device_put(host, device),
    }


def nothing() -> None:
    """No argument to prepare."""


def to_gpu(results: Results, host: Any, rounds: int) -> None:
    """Pageable memory to the device."""
    calls = {f"public {name}": (nothing, call) for name, call in to_gpu_calls(host).items()}
    for name in NAMES:
        calls[name] = (nothing, lambda _, n=name: arraybridge.convert(host, n, device="cuda:0"))
    took = best_transfers(calls, rounds)
    fastest = min(took[f"public {name}"] for name in NAMES)
    for name in NAMES:
        results.put("to the GPU", speed_row(f"numpy -> {name}", host.nbytes, took[name], fastest, TO_GPU_BAR))


def speed_row(name: str, size: int, ours: float, public: float, bar: float) -> Row:
    """How many times as fast as the fastest framework."""
    return row(f"{name}, {size / 2**30:.3g} GiB", public / ours, "at least", bar, ours_gb_s=size / ours / 1e9,
               public_gb_s=size / public / 1e9)  # fmt: skip


def to_host(results: Results, host: Any, rounds: int) -> None:
    """The device to a fresh NumPy array. JAX keeps what it has brought once: it gets a new array each time."""
    x = arrays(host)
    again = jax.jit(lambda a: a + 1)
    prepare: dict[str, Call] = {
        "cupy": lambda: x["cupy"],
        "torch": lambda: x["torch"],
        "jax": lambda: again(x["jax"]).block_until_ready(),
    }
    public: dict[str, Call] = {
        "cupy": lambda a: a.get(),
        "torch": lambda a: a.cpu().numpy(),
        "jax": lambda a: np.asarray(a),
    }
    calls = {f"public {name}": (prepare[name], public[name]) for name in NAMES}
    for name in NAMES:
        calls[name] = (prepare[name], lambda a: arraybridge.convert(a, "numpy"))
    took = best_transfers(calls, rounds)
    fastest = min(took[f"public {name}"] for name in NAMES)
    for name in NAMES:
        results.put("to the host", speed_row(f"{name} -> numpy, fresh", host.nbytes, took[name], fastest, TO_HOST_BAR))


def pinned(results: Results, host: Any, rounds: int) -> None:
    """Pinned memory against one asynchronous copy of the same memory, which is the link's limit."""
    source = torch.from_numpy(host).pin_memory()
    target = torch.empty_like(source, device="cuda")
    view = source.numpy()
    calls: dict[str, tuple[Call, Call]] = {"link": (nothing, lambda _: target.copy_(source, non_blocking=True))}
    for name in NAMES:
        calls[name] = (nothing, lambda _, n=name: arraybridge.convert(view, n, device="cuda:0"))
    took = best_transfers(calls, rounds)
    for name in NAMES:
        value = took["link"] / took[name]
        results.put("pinned", row(f"pinned numpy -> {name}, {host.nbytes / 2**30:.3g} GiB", value, "at least",
                                  PINNED_BAR, ours_gb_s=host.nbytes / took[name] / 1e9,
                                  link_gb_s=host.nbytes / took["link"] / 1e9))  # fmt: skip


def sizes(results: Results, rounds: int) -> None:
    """Smaller arrays, both ways, against the same framework's own call: where staging begins to pay."""
    for size in SIZES:
        host = np.ones(size // 4, np.float32)
        x = arrays(host)
        back: dict[str, Call] = {"cupy": lambda a: a.get(), "torch": lambda a: a.cpu().numpy()}
        for name in ("cupy", "torch"):
            calls = {
                "public there": (nothing, to_gpu_calls(host)[name]),
                "there": (nothing, lambda _, n=name, h=host: arraybridge.convert(h, n, device="cuda:0")),
                "public back": (lambda n=name, x=x: x[n], back[name]),
                "back": (lambda n=name, x=x: x[n], lambda a: arraybridge.convert(a, "numpy")),
            }
            took = best_transfers(calls, max(10, rounds))
            for way, text in {"there": f"numpy -> {name}", "back": f"{name} -> numpy"}.items():
                public = took[f"public {way}"]
                results.put("sizes", row(f"{text}, {size >> 10} KiB", took[way] / public, "at most", None,
                                         ours_us=took[way] * 1e6, public_us=public * 1e6))  # fmt: skip


# ---------------------------------------------------------------- the program


def versions() -> dict[str, str]:
    """What the numbers belong to."""
    found = {"gpu": torch.cuda.get_device_name(0), "python": platform.python_version()}
    for name in ("numpy", "torch", "cupy", "jax", "arraybridge"):
        found[name] = str(sys.modules[name].__version__)
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found["jaxlib"] = importlib.metadata.version("jaxlib")
    return found | {"cores": str(len(os.sched_getaffinity(0))), "load": f"{os.getloadavg()[0]:.1f}"}


FIGURES = {"ours_ns": "ns", "public_ns": "ns", "unordered_ns": "ns", "ours_us": "us", "public_us": "us",
           "ours_gb_s": "GB/s", "public_gb_s": "GB/s", "link_gb_s": "GB/s"}  # fmt: skip


def show(results: Results) -> None:
    """The tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print("  ".join(f"{key} {value}" for key, value in results.tables.get("versions", {}).items()))
    for title, rows in results.tables.items():
        if not isinstance(rows, list):
            continue
        figures = [name for name in FIGURES if name in rows[0]]
        table = Table(title=title)
        for column in ["", *(f"{name.rsplit('_', 2 if name.endswith('gb_s') else 1)[0]}, {FIGURES[name]}"
                             for name in figures), "ratio", "bar", " "]:  # fmt: skip
            table.add_column(column, justify="left" if not column.strip() else "right")
        for one in rows:
            numbers = ["" if one[name] is None else f"{one[name]:,.4g}" for name in figures]
            bar = "" if one["bar"] is None else f"{one['sense']} {one['bar']:g}"
            verdict = "" if one["bar"] is None else "met" if one["met"] else "[bold]missed[/bold]"
            table.add_row(one["name"], *numbers, f"{one['value']:.2f}", bar, verdict)
        console.print(table)


def main() -> int:
    """Measures, shows, and compares with the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--size", type=float, default=1.0, help="GiB of the large array")
    parser.add_argument("--strict", type=float, help="fail if a ratio misses its bar by more than this factor")
    arguments = parser.parse_args()
    if not has_gpu():
        print("skipped: no NVIDIA GPU on this machine")
        return 0
    load()
    results = Results(arguments.json)
    results.put("versions", versions())
    few = max(3, arguments.rounds // 8)
    host = np.full(int(arguments.size * 2**30) // 4, 1.5, np.float32)
    to_gpu(results, host, few)
    to_host(results, host, few)
    pinned(results, host, few)
    small(results, arguments.rounds)
    sizes(results, arguments.rounds)
    show(results)
    missed = [one for one in results.rows() if misses(one, arguments.strict or 1.0)]
    for one in missed if arguments.strict is not None else ():
        print(f"missed: {one['name']}: {one['value']:.2f}, {one['sense']} {one['bar']:g} is wanted")
    return 1 if missed and arguments.strict is not None else 0


if __name__ == "__main__":
    sys.exit(main())
