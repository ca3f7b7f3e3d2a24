# SPDX-License-Identifier: MIT
"""Shared libraries that frameworks bring along: OpenMP runtimes, OpenCL drivers, LLVM, libltdl."""

from __future__ import annotations

import ctypes
import os
import re

from .. import _library
from ..value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_OPENMP = re.compile(r"^lib(gomp|iomp5|omp5?)(-[0-9a-f]+)?\.so")
_RUNTIMES = re.compile(r"^lib(gomp|iomp5|omp5?|LLVM[-.0-9]*|pocl)(-[0-9a-f]+)?\.so")


def openmp_name(path: str) -> str:
    """``"libgomp"``, ``"libiomp5"``, ``"libomp"``, or empty if the file is no OpenMP runtime."""
    found = _OPENMP.match(os.path.basename(path))
    return "" if found is None else f"lib{found[1]}".replace("libomp5", "libomp")


def mapped_files() -> list[str]:
    """Every file mapped into this process."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            rows = [line.split(maxsplit=5) for line in maps]
    except OSError:
        return []
    return list(dict.fromkeys(row[5].strip() for row in rows if len(row) == 6 and row[5].startswith("/")))


def mapped_runtimes() -> list[str]:
    """Those of this process's libraries that can clash: OpenMP runtimes, LLVM, PoCL."""
    return [path for path in mapped_files() if _RUNTIMES.match(os.path.basename(path))]


def mapped_library(stem: str) -> str:
    """Path of the library called ``stem`` in this process; empty if there is none."""
    return next((path for path in mapped_files() if os.path.basename(path).startswith(f"{stem}.so")), "")


def _folders_of(module: str) -> list[str]:
    from importlib.util import find_spec

    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return []
    return list(spec.submodule_search_locations or ()) if spec is not None else []


def _candidates(folder: str) -> Iterator[str]:
    """Where wheels keep their libraries: in the package, one level below, or beside it in ``<package>.libs``."""
    from glob import escape, glob

    package, beside = escape(folder), escape(os.path.dirname(folder))
    for pattern in (f"{package}/lib*omp*.so*", f"{package}/*/lib*omp*.so*", f"{beside}/*.libs/lib*omp*.so*"):
        yield from glob(pattern)


def shipped_openmp(modules: Iterable[str]) -> list[str]:
    """OpenMP runtimes inside the installed wheels of ``modules`` and those beside them. Imports nothing."""
    found: list[str] = []
    for module in modules:
        for folder in _folders_of(module):
            found.extend(os.path.realpath(path) for path in _candidates(folder) if openmp_name(path))
    return sorted(set(found))


# ------------------------------------------------------------------ OpenCL drivers


class Vendor(Value):
    """One OpenCL vendor library named on this machine.

    Attributes
    ----------
    path : str
        The .icd file, or the environment variable, that names it.
    library : str
        The library; empty if the file names none.
    loaded, isolated : bool
        Whether it is in this process, and whether its symbols are kept apart from everybody else's.
    """

    __slots__ = ("path", "library", "loaded", "isolated")

    path: str
    library: str
    loaded: bool
    isolated: bool

    def __init__(self, path: str, library: str, loaded: bool, isolated: bool) -> None:
        self._fill({"path": path, "library": library, "loaded": loaded, "isolated": isolated})

    def to_json(self) -> dict[str, object]:
        """Plain values, ready for ``json.dumps``."""
        return self._values()


class _Vendor(ctypes.Structure):
    """ab_vendor of arraybridge.h."""

    _fields_ = (
        ("struct_size", ctypes.c_uint32),
        ("loaded", ctypes.c_int32),
        ("isolated", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("path", ctypes.c_char_p),
        ("library", ctypes.c_char_p),
    )


def native_path() -> str:
    """The native module's file."""
    return next((library for library, _ in _library._places() if os.path.exists(library)), "")


def opencl_vendors() -> list[Vendor]:
    """The OpenCL vendor libraries that an OpenCL loader would open. Opens none."""
    found: list[Vendor] = []
    visitor = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(_Vendor))

    def visit(_: int, vendor: ctypes._Pointer[_Vendor]) -> int:
        one = vendor.contents
        path, library = (os.fsdecode(text or b"") for text in (one.path, one.library))
        found.append(Vendor(path, library, bool(one.loaded), bool(one.isolated)))
        return 0

    # The native module is in the process already; through it libarraybridge's own functions are found.
    function = ctypes.CDLL(native_path()).ab_vendors
    function.argtypes = (visitor, ctypes.c_void_p, ctypes.c_void_p)
    function.restype = ctypes.c_int
    function(visitor(visit), None, None)  # another status than 0: built without OpenCL, so there is nothing to show
    return sorted(found, key=lambda vendor: vendor.path)
