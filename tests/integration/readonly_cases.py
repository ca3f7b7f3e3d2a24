"""Chains that start at memory which must not be written: each run in a child by test_readonly.py.

Writing to a read-only map is a SIGSEGV, so a wrong answer here may be the end of the process.
"""

from __future__ import annotations

import contextlib
import gc
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import arraybridge
import numpy as np
from arraybridge import MemoryConversionError
from frameworks import MAKE, NAMES, READ, aligned, random_array

Array = np.ndarray[Any, Any]
SHAPE = (8, 16)
BYTES = random_array("float32", SHAPE, seed=3).tobytes()

# ---------------------------------------------------------------- memory that is really read-only


@contextlib.contextmanager
def flagged() -> Iterator[Array]:
    """Aligned, so that every target could share it if it did not care."""
    value = aligned(SHAPE, "float32")
    value[...] = np.frombuffer(BYTES, np.float32).reshape(SHAPE)
    value.flags.writeable = False
    yield value


@contextlib.contextmanager
def file_map() -> Iterator[Array]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(BYTES)
        file.flush()
        yield np.memmap(file.name, np.float32, "r", shape=SHAPE)
        with open(file.name, "rb") as again:
            assert again.read() == BYTES, "the file has changed"


@contextlib.contextmanager
def broadcast() -> Iterator[Array]:
    row = aligned((1, SHAPE[1]), "float32")
    row[...] = np.frombuffer(BYTES, np.float32)[: SHAPE[1]]
    yield np.broadcast_to(row, SHAPE)


@contextlib.contextmanager
def immutable_bytes() -> Iterator[Array]:
    yield np.frombuffer(BYTES[:], np.float32).reshape(SHAPE)


@contextlib.contextmanager
def view_of_a_map() -> Iterator[Array]:
    with file_map() as value:
        yield np.asarray(value)[2:6]


SOURCES: dict[str, Callable[[], contextlib.AbstractContextManager[Array]]] = {
    function.__name__: function for function in (flagged, file_map, broadcast, immutable_bytes, view_of_a_map)
}

# ---------------------------------------------------------------- writing by a framework's own means


def write_numpy(array: Any) -> bool:
    if not array.flags.writeable:
        return False
    array[...] = -5
    return True


def write_torch(array: Any) -> bool:
    array.detach().fill_(-5)
    return True


def write_nothing(array: Any) -> bool:
    """TensorFlow and JAX have no way to write an array."""
    return False


def write_cle(array: Any) -> bool:
    import pyclesperanto as cle

    cle.set(array, -5)
    cle.pull(array)  # waits for the kernel
    return True


WRITE: dict[str, Callable[[Any], bool]] = {
    "numpy": write_numpy, "torch": write_torch, "tensorflow": write_nothing, "jax": write_nothing,
    "pyclesperanto": write_cle,
}  # fmt: skip


def address_of(framework: str, array: Any) -> int | None:
    """Where the elements are, as the framework says; None where it does not say."""
    if framework == "torch":
        return int(array.data_ptr())
    if framework == "jax":
        return int(array.unsafe_buffer_pointer())
    if framework == "pyclesperanto":
        return None
    return int(np.asarray(array).ctypes.data)


# ---------------------------------------------------------------- the cases


def truthful(framework_a: str, a: Any, framework_b: str, b: Any, record: Any) -> str:
    """What is wrong with a record, by the pointers; empty if nothing is."""
    if record.shared == record.copied:
        return f"{record.mechanism}: shared and copied are both {record.shared}"
    if record.copied != (record.bytes_copied > 0):
        return f"{record.mechanism}: copied is {record.copied}, but {record.bytes_copied} bytes were"
    places = address_of(framework_a, a), address_of(framework_b, b)
    if None not in places and record.shared != (places[0] == places[1]):
        return f"{record.mechanism}: shared is {record.shared}, but the addresses are {places}"
    return ""


def run_chain(source: str, first: str) -> dict[str, str]:
    """numpy (read-only) -> first -> each second, which is then written."""
    problems = {}
    for second in NAMES:
        print(f"{source} -> {first} -> {second}", flush=True)
        with SOURCES[source]() as value:
            before = value.tobytes()
            problems[second] = _chain(value, first, second)
            gc.collect()
            if value.tobytes() != before:
                problems[second] += " the source has changed"
    return problems


def _chain(value: Array, first: str, second: str) -> str:
    expected = READ["numpy"](value)
    with arraybridge.records() as log:
        a = arraybridge.convert(value, first)
        b = arraybridge.convert(a, second)
    problem = truthful("numpy", value, first, a, log[0]) + truthful(first, a, second, b, log[1])
    if READ[second](b) != expected:
        problem += " wrong values"
    wrote_b = WRITE[second](b)
    wrote_a = WRITE[first](a)
    if wrote_b and READ[second](b) == expected:
        problem += " writing wrote nothing"
    if first != "numpy" and log[0].shared:
        problem += f" {first} shares what it could write"
    del a, wrote_a
    gc.collect()
    return problem


def run_refusal(source: str) -> dict[str, str]:
    """copy=False: a target that cannot carry the flag must refuse; NumPy shares, still read-only."""
    problems = {}
    for target in NAMES:
        with SOURCES[source]() as value:
            try:
                result = arraybridge.convert(value, target, copy=False)
            except MemoryConversionError as error:
                problems[target] = "" if target != "numpy" and "read-only" in str(error) else str(error)
            else:
                shares = target == "numpy" and not result.flags.writeable
                problems[target] = "" if shares else "shared without a word"
    return problems


def make(framework: str) -> Any:
    """An array that the framework itself would let the others share."""
    value = aligned(SHAPE, "float32")
    value[...] = np.arange(value.size).reshape(SHAPE)
    return value if framework == "numpy" else MAKE[framework](value, "float32")


def run_isolation(option: str, source: str, target: str) -> list[str]:
    """With the option, each end is written in turn and the other stays; an end that cannot be written is read again."""
    problems = []
    for how in ("keyword", "option"):
        a = make(source)
        before = READ[source](a)
        with arraybridge.records() as log:
            if how == "keyword":
                b = arraybridge.convert(a, target, **{option: "copy"})
            else:
                with arraybridge.options(**{option: "copy"}):
                    b = arraybridge.convert(a, target)
        record = log[0]
        problems.append(truthful(source, a, target, b, record))
        if not concerned(option, source):
            continue
        if not record.copied or record.shared:
            problems.append(f"{how}: {record.mechanism} did not copy")
        if WRITE[target](b) and READ[source](a) != before:
            problems.append(f"{how}: writing the result changed the source")
        c = arraybridge.convert(make(source), target, **{option: "copy"})
        d = make(source)
        e = arraybridge.convert(d, target, **{option: "copy"})
        if WRITE[source](d) and READ[target](e) != READ[target](c):
            problems.append(f"{how}: writing the source changed the result")
    return [problem for problem in problems if problem]


def concerned(option: str, source: str) -> bool:
    """Whose arrays the option is about."""
    return (source in ("tensorflow", "jax")) == (option == "immutable")


def run_sharing(source: str, target: str) -> list[str]:
    """Without options: the record agrees with the pointers, and with what a write does."""
    a = make(source)
    before = READ[source](a)
    with arraybridge.records() as log:
        b = arraybridge.convert(a, target)
    problems = [truthful(source, a, target, b, log[0])]
    if b is not a and source not in ("tensorflow", "jax") and WRITE[target](b):
        # A mapped or wrapped OpenCL buffer is the same memory: what is written is seen at once.
        changed = READ[source](a) != before
        if changed != log[0].shared:
            seen = "seen" if changed else "not seen"
            problems.append(f"{log[0].mechanism}: shared is {log[0].shared}, but a write is {seen}")
    return [problem for problem in problems if problem]
