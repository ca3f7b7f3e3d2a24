"""What test_lifetime.py runs in processes of their own: each function gives a verdict that can be written as JSON.

`python lifetime_child.py NAME` runs one of the scenes at the end of the process, which the fork server's children leave
out: they end without taking the interpreter down.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import importlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

if __name__ == "__main__" and "exit_with_hooks" in sys.argv:
    atexit.register(lambda: early_hook())  # before arraybridge registers its own, so this runs after that

import arraybridge
import numpy as np
from arraybridge import MemoryConversionError
from frameworks import MAKE, NAMES, READ, aligned, module_of, random_array

KIB, MIB = 1 << 10, 1 << 20
PAIRS = [(source, target) for source in NAMES for target in NAMES]


def resident() -> int:
    """Memory of the process that is really there, bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def settle() -> None:
    """Collects and releases: JAX's own import keeps some bytes a call until the next collection."""
    gc.collect()
    arraybridge.drain()
    gc.collect()


def array_of(framework: str, shape: tuple[int, ...] = (4, 4), seed: int = 0, dtype: str = "float32") -> Any:
    """An array of the framework with random bits, shared by everyone: NumPy's on a multiple of 64."""
    values = random_array(dtype, shape, seed)
    if framework == "numpy":
        place = aligned(shape, dtype)
        place[...] = values
        return place
    return MAKE[framework](values, dtype)


def churn() -> None:
    """Writes over small memory that was given back, so that a use after free is a wrong value."""
    blocks = [bytearray(b"\xa5" * size) for size in (64, 96, 128, 192, 256, 512, 1024) for _ in range(64)]
    arrays = [np.full(size, 0xA5, np.uint8) for size in (64, 128, 256, 1024) for _ in range(64)]
    del blocks, arrays


# ---------------------------------------------------------------- memory stays flat


JAX_PLATEAU = 60_000
"""JAX alone grows by about 2 MiB during its first imports, and not after them (0.10.2): those come before we look."""


def _growth(work: Callable[[], object], count: int, warm: int) -> int:
    for _ in range(warm):
        work()
    settle()
    before = resident()
    for _ in range(count):
        work()
    settle()
    return resident() - before


def _flat(source: Any, work: Callable[[], object], count: int, *, jax: bool) -> dict[str, int]:
    work()
    settle()
    references = sys.getrefcount(source)
    grown = _growth(work, count, JAX_PLATEAU if jax else max(count // 10, 200))
    held = arraybridge.pending()
    return {"grown": grown, "references": sys.getrefcount(source) - references, "pending": held[0]}


def conversions(source: str, target: str, count: int) -> dict[str, int]:
    array = array_of(source)
    return _flat(array, lambda: arraybridge.convert(array, target), count, jax="jax" in (source, target))


def copies(target: str, count: int) -> dict[str, int]:
    array = array_of("numpy")[::-1, ::2]
    return _flat(array, lambda: arraybridge.convert(array, target, copy=True), count, jax=target == "jax")


def fresh_sources(target: str, count: int) -> dict[str, int]:
    """A new source each time, so that a source that is kept would be seen: 4 KiB each."""

    def work() -> None:
        arraybridge.convert(aligned((32, 32), "float32"), target)

    return _flat(work, work, count, jax=target == "jax")


def refusals(target: str, count: int) -> dict[str, int]:
    array = array_of("numpy")[::-1]

    def work() -> None:
        try:
            arraybridge.convert(array, target, copy=False)
        except MemoryConversionError:
            return
        raise AssertionError("not refused")

    return _flat(array, work, count, jax=target == "jax")


def plans_and_records(target: str, count: int) -> dict[str, int]:
    array = array_of("numpy")

    def work() -> None:
        arraybridge.plan(array, target)
        with arraybridge.records():
            arraybridge.convert(array, target)

    return _flat(array, work, count, jax=target == "jax")


# ---------------------------------------------------------------- who goes first


def _in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def dropped_source_first(source: str, target: str) -> bool:
    array = array_of(source, (64,))
    expected = READ[source](array)
    result = arraybridge.convert(array, target)
    del array
    settle()
    churn()
    return READ[target](result) == expected


def dropped_result_first(source: str, target: str) -> bool:
    array = array_of(source, (64,))
    expected = READ[source](array)
    references = sys.getrefcount(array)
    result = arraybridge.convert(array, target)
    if result is not array:
        READ[target](result)
    del result
    settle()
    churn()
    return READ[source](array) == expected and sys.getrefcount(array) == references


def dropped_in_another_thread(source: str, target: str) -> bool:
    array = array_of(source, (64,))
    expected = READ[source](array)
    references = sys.getrefcount(array)
    results = [arraybridge.convert(array, target)]
    _in_thread(results.clear)
    settle()
    kept = sys.getrefcount(array) - references
    results = [arraybridge.convert(array, target), array]
    del array
    _in_thread(lambda: results.pop())  # the source goes there, the result is read here
    settle()
    churn()
    return kept == 0 and READ[target](results[0]) == expected


def made_in_another_thread(source: str, target: str) -> bool:
    array = array_of(source, (64,))
    results: list[Any] = []
    _in_thread(lambda: results.append(arraybridge.convert(array, target)))
    return READ[target](results[0]) == READ[source](array)


def dropped_in_a_cycle(source: str, target: str) -> bool:
    class Node:
        pass

    array = array_of(source, (64,))
    expected = READ[source](array)
    references = sys.getrefcount(array)
    node = Node()
    node.itself, node.source, node.result = node, array, arraybridge.convert(array, target)
    gone = weakref.ref(node)
    del node
    alive = gone() is not None
    settle()
    return alive and gone() is None and sys.getrefcount(array) == references and READ[source](array) == expected


def every_pair(scene: str) -> list[str]:
    """The pairs for which a scene does not end as it should."""
    return [f"{source}-{target}" for source, target in PAIRS if not globals()[scene](source, target)]


def numpy_source_is_given_back(target: str) -> bool:
    """The last array over the memory takes the source along: seen through a weak reference to its owner."""
    array = array_of("numpy", (256,))
    gone = weakref.ref(array)
    result = arraybridge.convert(array, target)
    same = result is array
    del array
    alive = gone() is not None
    del result
    settle()
    return alive and gone() is None and same == (target == "numpy")


# ---------------------------------------------------------------- JAX's own threads


def in_a_jax_callback() -> dict[str, Any]:
    """Converts, and drops what was made elsewhere, on the thread on which XLA runs callbacks."""
    import jax

    held: dict[str, Any] = {}
    seen: dict[str, Any] = {"wrong": [], "own_thread": False}
    main = threading.get_ident()

    def callback(x: Any) -> Any:
        seen["own_thread"] |= threading.get_ident() != main
        held.clear()
        for target in NAMES:
            array = array_of("numpy", (8,), seed=3)
            result = arraybridge.convert(array, target)
            del array
            if READ[target](result)[2] != random_array("float32", (8,), 3).tobytes():
                seen["wrong"].append(target)
        return np.asarray(arraybridge.convert(x, "numpy")) + 1

    function = jax.jit(lambda x: jax.pure_callback(callback, jax.ShapeDtypeStruct(x.shape, x.dtype), x))
    # A computation on two devices runs on threads of XLA, one on a single device on the caller's.
    everywhere = jax.sharding.NamedSharding(jax.make_mesh((2,), ("x",)), jax.sharding.PartitionSpec("x"))
    sources = {name: array_of(name, (16,)) for name in NAMES}
    references = {name: sys.getrefcount(sources[name]) for name in NAMES}
    for round_ in range(20):
        for source, target in PAIRS:
            if source != target:
                held[f"{source}-{target}"] = arraybridge.convert(sources[source], target)
        x = jax.device_put(np.full(4, round_, np.float32), everywhere)
        if not np.array_equal(np.asarray(function(x)), np.full(4, round_ + 1)):
            seen["wrong"].append(f"round {round_}")
    settle()
    seen["kept"] = [name for name in NAMES if sys.getrefcount(sources[name]) != references[name]]
    return seen


def released_by_xla() -> dict[str, Any]:
    """A source that JAX still computes with when Python has dropped all of it: XLA's thread gives it back."""
    import jax

    work = jax.jit(lambda x: (x @ x).sum())
    count, wrong = 30, 0
    gone: list[Any] = []
    for _ in range(count):
        array = aligned((400, 400), "float32")
        array[...] = 1
        gone.append(weakref.ref(array))
        answer = work(arraybridge.convert(array, "jax"))
        del array
        wrong += float(answer) != 400.0**3
        del answer
    end = time.monotonic() + 10
    while any(one() is not None for one in gone) and time.monotonic() < end:
        time.sleep(0.01)  # XLA's thread gives its last one back when it gets to it, after the answer
        settle()
    return {"wrong": wrong, "kept": sum(one() is not None for one in gone)}


# ---------------------------------------------------------------- large arrays


def _large(framework: str, nbytes: int) -> Any:
    shape = (nbytes // (4 * KIB * KIB), KIB, KIB)
    if framework == "numpy":
        array = aligned(shape, "float32")
        array.fill(1)
        return array
    if framework == "torch":
        import torch

        return torch.ones(shape)
    if framework == "jax":
        import jax.numpy as jnp

        return jnp.ones(shape, "float32").block_until_ready()
    import pyclesperanto as cle

    array = cle.create(shape, dtype=np.float32)
    cle.set(array, scalar=1)
    cle.pull(array[:1, :1, :1])
    return array


def _drop_large(source: str, target: str, nbytes: int, copy: bool | None) -> int:
    """How much memory is still there after the last reference went. Nothing but `del` gives it back."""
    arraybridge.convert(_large(source, 4 * MIB), target, copy=copy)
    settle()
    before = resident()
    array = _large(source, nbytes)
    result = arraybridge.convert(array, target, copy=copy)
    held = resident() - before
    assert held > nbytes // 2, f"{held} bytes: the array is not really there"
    del array
    del result
    end = time.monotonic() + (2 if "pyclesperanto" in (source, target) else 0)
    while resident() - before > nbytes // 8 and time.monotonic() < end:
        pass  # the OpenCL driver lets go on a thread of its own; nobody drains here
    return resident() - before


def large_is_given_back(source: str, target: str, nbytes: int, copy: bool | None = None) -> int:
    return _drop_large(source, target, nbytes, copy)


def many_large_in_a_loop(source: str, target: str) -> int:
    """1 GiB in pieces of 16 MiB, each dropped: the peak stays at a few of them."""
    arraybridge.convert(_large(source, 4 * MIB), target)
    settle()
    before = peak = resident()
    for _ in range(64):
        array = _large(source, 16 * MIB)
        result = arraybridge.convert(array, target)
        peak = max(peak, resident())
        del array, result
    return peak - before


# ---------------------------------------------------------------- eight threads


def eight_threads(seconds: float) -> dict[str, Any]:
    sources = {name: array_of(name, (32,), seed=5) for name in NAMES}
    expected = {name: READ[name](sources[name])[2] for name in NAMES}
    for source, target in PAIRS:
        arraybridge.convert(sources[source], target)
    settle()
    references = {name: sys.getrefcount(sources[name]) for name in NAMES}
    problems: list[str] = []
    counts = [0] * 8
    passing: list[Any] = [None] * 8  # results made by one thread, read and dropped by the next
    end = time.monotonic() + seconds

    def run(number: int) -> None:
        rng = np.random.default_rng(number)
        try:
            while time.monotonic() < end and not problems:
                source, target = PAIRS[rng.integers(len(PAIRS))]
                how = [None, None, True][counts[number] % 3]
                passing[number] = (target, source, arraybridge.convert(sources[source], target, copy=how))
                taken = passing[(number + 1) % 8]
                if taken is not None and READ[taken[0]](taken[2])[2] != expected[taken[1]]:
                    problems.append(f"{taken[1]} -> {taken[0]}: other values")
                counts[number] += 1
        except BaseException as error:
            problems.append(repr(error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passing.clear()
    settle()
    kept = {name: sys.getrefcount(sources[name]) - references[name] for name in NAMES}
    return {"problems": problems, "kept": [name for name, more in kept.items() if more > 0], "fewest": min(counts)}


def eight_threads_start_at_once() -> list[str]:
    """The frameworks themselves come to life in eight threads that all ask first."""
    problems: list[str] = []
    barrier = threading.Barrier(8)

    def run(number: int) -> None:
        target = NAMES[number % len(NAMES)]
        array = array_of("numpy", (16,), seed=number)
        barrier.wait()
        try:
            result = arraybridge.convert(array, target)
            if READ[target](result)[2] != array.tobytes():
                problems.append(f"{target}: other values")
        except BaseException as error:
            problems.append(f"{target}: {error!r}")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return problems


# ---------------------------------------------------------------- an exception in the middle


class Injected(Exception):
    """What a framework's function raises when it is told to."""


class Fault:
    """Stands in for a function of a framework, which it calls; armed, it raises before or after."""

    def __init__(self, original: Any) -> None:
        self.original, self.armed, self.calls = original, "", 0

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        self.calls += 1
        if self.armed == "before":
            raise Injected("before")
        result = self.original(*arguments, **keywords)
        if self.armed == "after":
            del result  # and with it what it took
            raise Injected("after")
        return result

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else functools.partial(self, instance)


def _fault_at(path: str) -> Fault:
    """Puts a fault in the place of `module:owner.attribute`."""
    module, _, names = path.partition(":")
    *owners, last = names.split(".")
    if module.startswith("pyclesperanto"):
        importlib.import_module("pyclesperanto")  # which gives the type some of its methods
    owner: Any = importlib.import_module(module)
    for name in owners:
        owner = getattr(owner, name)
    original = owner.__dict__.get(last, getattr(owner, last)) if isinstance(owner, type) else getattr(owner, last)
    fault = Fault(original)
    static = isinstance(original, staticmethod)
    if static:
        fault.original = original.__func__
    setattr(owner, last, staticmethod(fault) if static else fault)
    return fault


def _outcome(array: Any, target: str, keywords: dict[str, Any], expected: object) -> str:
    """How one conversion ended. The exception goes with this function, and what its traceback holds."""
    try:
        result = arraybridge.convert(array, target, **keywords)
        return "right" if READ[target](result) == expected else "wrong"
    except MemoryConversionError as error:
        cause = error.__cause__
        return "error" if cause is None or isinstance(cause, Injected) else repr(cause)


def exception_in_a_slot(path: str, mode: str, source: str, target: str, keywords: dict[str, Any]) -> dict[str, Any]:
    """Converts while a function of the framework raises; then counts what is still held."""
    switch = keywords.pop("switch", "")  # makes the plugin go its public way
    if switch:
        os.environ[switch] = "1"
    dtype = keywords.pop("source_dtype", "float32")
    fault = _fault_at(path)
    array = array_of(source, (128, 128), dtype=dtype)
    if keywords.pop("strange", False):
        array = array[::-1, ::2]
    expected = READ[source](array)
    for _ in range(5):
        arraybridge.convert(array, target, **keywords)
    called = fault.calls
    settle()
    references, before = sys.getrefcount(array), resident()
    fault.armed = mode
    outcomes = {_outcome(array, target, keywords, expected) for _ in range(200)}
    fault.armed = ""
    settle()
    grown, kept = resident() - before, sys.getrefcount(array) - references
    result = arraybridge.convert(array, target, **keywords)
    again = READ[target](result) == expected
    return {
        "called": called, "raised": fault.calls - called, "outcomes": sorted(outcomes),
        "grown": grown, "kept": kept, "again": again, "pending": arraybridge.pending()[0],
    }  # fmt: skip


# ---------------------------------------------------------------- fork


def fork_after_host_conversions() -> bool:
    """A child made by fork() after conversions converts on the host as well."""
    array = array_of("numpy", (64,))
    tensor = arraybridge.convert(array, "torch")
    child = os.fork()
    if child == 0:
        good = READ["torch"](arraybridge.convert(array, "torch")) == READ["torch"](tensor)
        for seed in range(300):
            fresh = array_of("numpy", (64,), seed)
            there = arraybridge.convert(fresh, "torch")
            good &= READ["numpy"](arraybridge.convert(there, "numpy")) == READ["numpy"](fresh)
        big = arraybridge.convert(np.ones((2048, 2048), np.float32)[::-1], "torch", copy=True)  # with helper threads
        good &= bool(arraybridge.convert(big, "numpy").min() == 1)
        del big
        settle()
        os._exit(0 if good and arraybridge.pending()[0] == 0 else 1)
    end = time.monotonic() + 40
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


# ---------------------------------------------------------------- the end of the process

KEPT: list[Any] = []
"""Lives until the modules are taken down."""


def _convert_all(names: list[str]) -> list[Any]:
    made = []
    for source in names:
        for target in names:
            array = array_of(source, (64,))
            result = arraybridge.convert(array, target)
            made.append(result)
            if len(made) % 2:  # every second one loses its source first
                made.append(array)
    return made


def exit_with_globals(names: list[str]) -> None:
    KEPT.extend(_convert_all(names))


def exit_with_cycles(names: list[str]) -> None:
    class Node:
        def __init__(self, array: Any) -> None:
            self.array, self.itself = array, self

    gc.disable()
    KEPT.extend(Node(array) for array in _convert_all(names))
    KEPT.clear()


def exit_with_hooks(names: list[str]) -> None:
    held = {"late": _convert_all(names)}

    def late() -> None:  # registered last, runs first: everything still works
        held["late"].clear()
        for source, target in [(source, target) for source in names for target in names]:
            array = array_of(source, (64,))
            assert READ[target](arraybridge.convert(array, target)) == READ[source](array)
        print("late hook done", flush=True)

    atexit.register(late)
    FIRST.extend(_convert_all(names))
    ALIASED.append(array_of("numpy", (64,)))
    FIRST.append(arraybridge.convert(ALIASED[0], "torch"))


FIRST: list[Any] = []
ALIASED: list[Any] = []


def early_hook() -> None:
    """Registered before arraybridge's own, so it runs after that: what is dropped now leaks, on purpose."""
    gone = weakref.ref(ALIASED.pop())
    FIRST.clear()
    gc.collect()
    assert gone() is not None, "released after the end was marked"
    try:
        arraybridge.convert(array_of("numpy", (64,)), "torch")
    except MemoryConversionError as error:
        assert error.status == "ENDING", error.status
        print("early hook done", flush=True)


def exit_with_idle_threads(names: list[str]) -> None:
    ready = threading.Barrier(5)

    def idle() -> None:
        held = _convert_all(names)
        ready.wait()
        threading.Event().wait()
        held.clear()

    for _ in range(4):
        threading.Thread(target=idle, daemon=True).start()
    ready.wait()


def exit_with_busy_threads(names: list[str]) -> None:
    """Daemon threads that convert while the interpreter ends: Python stops them wherever they are.

    NumPy only: a daemon thread that does nothing but add torch tensors ends every such process with SIGABRT by itself
    (torch 2.13, Python 3.11).
    """

    def busy() -> None:
        while True:
            for source in names:
                arraybridge.convert(sources[source], source, copy=True)
                arraybridge.plan(sources[source], source)

    sources = {name: array_of(name, (64,)) for name in names}
    for _ in range(4):
        threading.Thread(target=busy, daemon=True).start()
    time.sleep(0.3)


def exit_with_del_methods(names: list[str]) -> None:
    """Objects whose end asks for conversions, after everything has begun to come apart."""

    class Restless:
        def __init__(self, array: Any) -> None:
            self.array, self.convert, self.name = array, arraybridge.convert, module_of(array)

        def __del__(self) -> None:
            try:
                self.convert(self.array, "numpy")
            except Exception:
                pass

    KEPT.extend(Restless(array) for array in _convert_all(names))


def exit_after_foreign_threads(names: list[str]) -> None:
    """Arrays that are dropped by a thread of the C library, which Python has never seen, at the very end."""
    held = _convert_all(names)
    drop = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: held.clear())
    thread, library = ctypes.c_ulong(), ctypes.CDLL(None)
    library.pthread_create(ctypes.byref(thread), None, drop, None)
    library.pthread_join(thread, None)
    KEPT.extend(_convert_all(names))


def exit_while_xla_computes(names: list[str]) -> None:
    """XLA's own threads give memory back while the interpreter comes apart, or after that."""
    import jax

    work = jax.jit(lambda x: jax.lax.fori_loop(0, 20, lambda _, y: (y @ x) / 1000, x).sum())
    for source in names:
        for _ in range(3):
            work(arraybridge.convert(array_of(source, (1000, 1000)), "jax"))


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2].split(","))
    print("end of the script", flush=True)
