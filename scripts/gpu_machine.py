"""Says what GPU machine this is, as JSON on standard output: device, driver, memory, versions. Imports no framework.

Exit code 3 with the reason in ``"reason"`` where there is no NVIDIA GPU that the driver can use.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

NO_GPU = 3
PACKAGES = ["numpy", "torch", "cupy-cuda13x", "cupy-cuda12x", "jax", "jaxlib", "jax-cuda13-plugin", "jax-cuda12-plugin",
            "tensorflow", "pyclesperanto", "ml_dtypes", "apache-tvm-ffi", "nvidia-cuda-runtime", "pytest"]  # fmt: skip


def devices(driver: Any) -> list[dict[str, Any]]:
    """Name and memory of each device that the driver shows."""
    count = ctypes.c_int()
    if driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return []
    found = []
    for number in range(count.value):
        device, name, size = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        if driver.cuDeviceGet(ctypes.byref(device), number) != 0:
            continue
        driver.cuDeviceGetName(name, len(name), device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        found.append({"name": name.value.decode(errors="replace"), "memory_gib": round(size.value / 2**30, 1)})
    return found


def driver_release() -> str:
    """The driver's release, such as 580.95: NVML knows it."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return ""
    text = ctypes.create_string_buffer(96)
    known = library.nvmlInit_v2() == 0 and library.nvmlSystemGetDriverVersion(text, len(text)) == 0
    return text.value.decode(errors="replace") if known else ""


def gpu() -> dict[str, Any]:
    """What the driver says, or ``{"reason": …}``."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {"reason": "no NVIDIA driver (libcuda.so.1) on this machine"}
    failed = driver.cuInit(0)
    if failed:
        return {"reason": f"the NVIDIA driver does not start: cuInit gives {failed}"}
    found = devices(driver)
    if not found:
        return {"reason": "the NVIDIA driver shows no GPU"}
    version = ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    api = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return {"devices": found, "driver": driver_release(), "driver_api": api}


def versions() -> dict[str, str]:
    """Of the packages that matter, those that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Which state of the sources this is, if git can tell."""
    root = Path(__file__).resolve().parent.parent
    call = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(call, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> int:
    """Prints it."""
    machine = gpu()
    if "reason" not in machine:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        machine |= {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(memory / 2**30, 1),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "versions": versions(),
            "commit": commit(),
        }
    print(json.dumps(machine))
    return NO_GPU if "reason" in machine else 0


if __name__ == "__main__":
    sys.exit(main())
