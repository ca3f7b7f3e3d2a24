"""Decorated functions called from sixteen threads at once, with mixed frameworks."""

from __future__ import annotations

import gc
import random
import threading
import time
from pathlib import Path
from typing import Any

import arraybridge
import numpy as np
import pytest
from decorated import array, decorator, values
from frameworks import NAMES, module_of

SHAPE = (64, 64)


POLICIES: list[dict[str, Any]] = [
    {}, {"dtype_conversion": "uint16"}, {"dtype_conversion": "uint8", "scaling": "clip"},
    {"dtype_conversion": "native", "host_fallback": True},
]  # fmt: skip


def _functions() -> dict[tuple[str, str], Any]:
    def double(image: Any, other: Any, *, extra: Any = None) -> Any:
        names = {module_of(image), module_of(other), module_of(extra["more"][0])}
        assert len(names) == 1
        return image, [other]

    pairs = [(one, two) for one in NAMES for two in [*NAMES, "input"]]
    return {
        (one, two): decorator(one)(output_type=two, **POLICIES[place % len(POLICIES)])(double)
        for place, (one, two) in enumerate(pairs)
    }


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _work(functions: dict[tuple[str, str], Any], seed: int, until: float, failures: list[BaseException]) -> None:
    draw = random.Random(seed)
    inputs = {name: array(name, seed, SHAPE) for name in NAMES}
    try:
        while time.monotonic() < until and not failures:
            target, output = draw.choice(list(functions))
            one, two, three = (draw.choice(NAMES) for _ in range(3))
            function = functions[target, output]
            first, (second,) = function(inputs[one], inputs[two], extra={"more": [inputs[three]]})
            assert module_of(first) == module_of(second) == (one if output == "input" else output)
            assert (values(first) == seed).all() and (values(second) == seed).all()
    except BaseException as error:
        failures.append(error)


def _soak(seconds: float) -> None:
    functions, failures = _functions(), list[BaseException]()

    def run(duration: float) -> None:
        until = time.monotonic() + duration
        threads = [threading.Thread(target=_work, args=(functions, seed, until, failures)) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()
        arraybridge.drain()

    run(seconds / 3)  # pools and arenas fill
    before = _resident()
    run(seconds)
    if failures:
        raise failures[0]
    assert _resident() - before < 48 << 20, f"{(_resident() - before) >> 20} MiB more"
    assert arraybridge.pending() == (0, 0)


@pytest.mark.alone  # memory is measured, after a short time in which pools fill
def test_sixteen_threads_for_five_seconds() -> None:
    _soak(5)


@pytest.mark.slow
def test_sixteen_threads_for_a_minute() -> None:
    _soak(60)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_kept_of_a_call(name: str) -> None:
    import sys

    function = decorator(name)(output_type="input")(lambda image, *rest, **more: (image, {"a": [image]}))
    image, other = np.ones(SHAPE, "float32"), np.ones(SHAPE, "float32")
    function(image, other, more=[other])
    gc.collect()
    counts = [sys.getrefcount(one) for one in (image, other, function, None)]
    for _ in range(200):
        function(image, other, more=[other])
    gc.collect()
    arraybridge.drain()
    after = [sys.getrefcount(one) for one in (image, other, function, None)]
    assert after[:3] == counts[:3]
    assert abs(after[3] - counts[3]) < 100


def test_decorated_functions_are_collected() -> None:
    import weakref

    def local() -> Any:
        def inner(image: Any) -> Any:
            return recursive, image

        recursive = arraybridge.torch(inner)
        recursive(np.ones(3, "float32"))
        return weakref.ref(inner)

    references = [local() for _ in range(20)]
    gc.collect()
    assert not [one for one in references if one() is not None]
