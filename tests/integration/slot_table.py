"""The table of a plugin that the core has loaded, called from Python without the core: no slot is out of reach."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import arraybridge
import numpy as np


class Refused(Exception):
    """What a slot reports that was called without the core, as MemoryConversionError is with it."""


# ---------------------------------------------------------------- the structures of the contract


class Dtype(ctypes.Structure):
    """DLDataType."""

    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class Device(ctypes.Structure):
    """DLDevice."""

    _fields_ = [("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)]


class Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p), ("device", Device), ("ndim", ctypes.c_int32), ("dtype", Dtype),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


class Managed(ctypes.Structure):
    """DLManagedTensorVersioned."""


DELETER = ctypes.PYFUNCTYPE(None, ctypes.POINTER(Managed))
Managed._fields_ = [
    ("version", ctypes.c_uint64), ("context", ctypes.c_void_p), ("deleter", DELETER), ("flags", ctypes.c_uint64),
    ("tensor", Tensor),
]  # fmt: skip


class Failure(ctypes.Structure):
    """ab_failure."""

    _fields_ = [
        ("struct_size", ctypes.c_uint32), ("status", ctypes.c_int32), ("domain", ctypes.c_char_p),
        ("object", ctypes.c_void_p), ("code", ctypes.c_int64), ("text", ctypes.c_char_p),
        ("owner", ctypes.c_void_p), ("release", ctypes.c_void_p), ("reserved", ctypes.c_uint64 * 4),
    ]  # fmt: skip


class Error(ctypes.Structure):
    """ab_error."""

    _fields_ = [
        ("struct_size", ctypes.c_uint32), ("status", ctypes.c_int32), ("failure", Failure),
        ("text", ctypes.c_char * 768), ("hint", ctypes.c_char * 384),
    ]  # fmt: skip


class Report(ctypes.Structure):
    """ab_report."""

    _fields_ = [
        ("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("copied", ctypes.c_uint64),
        ("detail", ctypes.c_char_p),
    ]  # fmt: skip


class Call(ctypes.Structure):
    """ab_call."""

    _fields_ = [
        ("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("self", ctypes.c_void_p),
        ("stream", ctypes.c_void_p), ("report", ctypes.POINTER(Report)), ("error", ctypes.POINTER(Error)),
        ("progress", ctypes.c_void_p), ("context", ctypes.c_void_p),
    ]  # fmt: skip


class Sized(ctypes.Structure):
    """ab_capabilities or ab_memory_info, whose texts are not read here."""

    _fields_ = [("struct_size", ctypes.c_uint32), ("rest", ctypes.c_uint8 * 508)]


SLOTS = [
    "to_dlpack",
    "from_dlpack",
    "to_host",
    "from_host",
    "is_oom",
    "clear_cache",
    "make_stream",
    "recognizes",
    "describe",
    "capabilities",
    "retain",
    "release",
    "probe",
    "start",
    "devices",
    "current_stream",
    "peek_stream",
    "adopt_stream",
    "drop_stream",
    "enter_stream",
    "exit_stream",
    "import_stream",
    "mark_use",
    "fence",
    "finish",
    "device_ops",
    "cast",
    "empty",
    "memory_info",
]

SPY = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
struct descriptor {
  uint32_t size; uint16_t major, minor; const char *name, *version, *licence; uint32_t runtime, lock; const char *abi;
  uint32_t flags, reserved; int32_t (*create)(const void *, void *, void *);
};
static int32_t create(const void *services, void *plugin, void *error) {
  char text[32];
  snprintf(text, sizeof text, "%p", services);
  setenv("ARRAYBRIDGE_TEST_SERVICES", text, 1);
  return 8;
}
const struct descriptor arraybridge_plugin = {sizeof(struct descriptor), 1, 0, "spy", "1", "MIT", 0, 0, "", 0, 0,
  create};
"""


def build_spy(folder: Path) -> None:
    """A plugin that is told what the core offers plugins, writes it down, and is no plugin otherwise."""
    command = ["cc", "-shared", "-fPIC", "-Wl,-z,now", "-xc", "-", "-o", str(folder / "arraybridge_spy.so")]
    subprocess.run(command, input=SPY, text=True, check=True)


def services() -> int:
    arraybridge.backends()
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    return int(getenv(b"ARRAYBRIDGE_TEST_SERVICES"), 16)


class Slots:
    """The table of a plugin that the core has loaded."""

    def __init__(self, name: str, offered: int) -> None:
        (trace,) = [row for row in arraybridge.load_trace() if row["path"].endswith(f"arraybridge_{name}.so")]
        plugin = ctypes.PyDLL(trace["path"])  # the same that the core has
        descriptor = ctypes.addressof(ctypes.c_char.in_dll(plugin, "arraybridge_plugin"))
        create = ctypes.PYFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        made = (ctypes.c_void_p * 3)()
        made[0] = 24
        assert create(ctypes.c_void_p.from_address(descriptor + 56).value)(offered, ctypes.addressof(made), None) == 0
        self.self, self.table = made[1], made[2]

    def call(self, name: str, *arguments: Any) -> None:
        """Calls the slot; raises what it reports, as the core does."""
        slot = ctypes.c_void_p.from_address(self.table + 8 + 8 * SLOTS.index(name)).value
        assert slot, f"there is no {name}"
        report, error = Report(ctypes.sizeof(Report)), Error(ctypes.sizeof(Error))
        call = Call(ctypes.sizeof(Call), 0, self.self, None, ctypes.pointer(report), ctypes.pointer(error))
        function = ctypes.PYFUNCTYPE(ctypes.c_int32, ctypes.POINTER(Call), *map(type, arguments))(slot)
        status = function(ctypes.byref(call), *arguments)
        if status == 0:
            return
        if not error.failure.struct_size:
            raise Refused(error.text.decode())
        cause = ctypes.cast(error.failure.object, ctypes.py_object).value
        ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(error.failure.release)(ctypes.addressof(error.failure))
        if status == 17:
            raise cause
        raise Refused(error.text.decode()) from cause


def taken(array: ctypes.c_void_p) -> Any:
    """The object, whose reference the slot gave."""
    found = ctypes.cast(array, ctypes.py_object).value
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(found))
    return found


def tensor_of(array: np.ndarray[Any, Any]) -> Tensor:
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    strides = (ctypes.c_int64 * array.ndim)(*(step // array.itemsize for step in array.strides))
    return Tensor(array.ctypes.data, Device(1, 0), array.ndim, FLOAT32, shape, strides, 0)


FLOAT32 = Dtype(2, 32, 1)
