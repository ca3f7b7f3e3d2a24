"""Which functions of the CUDA driver and its runtime are called: CUPTI, which torch brings along, tells their names."""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
import re
import threading
from collections import Counter
from types import TracebackType
from typing import Any

import pytest

DRIVER_API, RUNTIME_API = 1, 2  # CUPTI_CB_DOMAIN_…
ENTER = 0  # CUPTI_API_ENTER

_WAITS = re.compile(
    r"(Synchronize|^cu(da)?Mem(cpy|set)(?!.*Async)|^cu(da)?(Malloc|MemAlloc|MemFree|Free)(?!.*Async)|HostRegister)"
)


def is_synchronising(name: str) -> bool:
    """Whether the host, or the whole device, waits in a function of this name.

    Allocating and freeing count, too: they wait for the device where no pool stands before them.
    """
    return _WAITS.search(name) is not None


class _CallbackData(ctypes.Structure):
    """The head of CUpti_CallbackData."""

    _fields_ = [("site", ctypes.c_int), ("function", ctypes.c_char_p)]


_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.POINTER(_CallbackData))


def _library() -> Any:
    """CUPTI: already loaded, of a wheel, or of a toolkit."""
    spec = importlib.util.find_spec("nvidia")
    roots = list(spec.submodule_search_locations or []) if spec is not None else []
    places = [path for root in roots for path in sorted(glob.glob(f"{root}/*/lib/libcupti.so.*"))]
    places += ["libcupti.so.13", "libcupti.so.12", "libcupti.so"]
    toolkit = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    places += [f"{toolkit}/extras/CUPTI/lib64/libcupti.so", f"{toolkit}/lib64/libcupti.so"]
    for place in places:
        try:
            return ctypes.CDLL(place)
        except OSError:
            continue
    pytest.skip("no CUPTI on this machine: driver calls cannot be traced")
    return None


class DriverCalls:
    """Counts the calls that this thread makes from entering to leaving. Skips the test where that cannot be done."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._thread = threading.get_ident()
        self._cupti = _library()
        self._subscriber = ctypes.c_void_p()
        self._callback = _CALLBACK(self._count)  # must live as long as the subscription

    def _count(self, user: Any, domain: int, number: int, data: Any) -> None:
        if threading.get_ident() == self._thread and data.contents.site == ENTER:
            self.counts[(data.contents.function or b"?").decode()] += 1

    def __enter__(self) -> DriverCalls:
        failed = self._cupti.cuptiSubscribe(ctypes.byref(self._subscriber), self._callback, None)
        if failed:
            pytest.skip(f"CUPTI cannot be used here: cuptiSubscribe gives {failed}")
        for domain in (DRIVER_API, RUNTIME_API):
            self._cupti.cuptiEnableDomain(ctypes.c_uint32(1), self._subscriber, ctypes.c_int(domain))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cupti.cuptiUnsubscribe(self._subscriber)
