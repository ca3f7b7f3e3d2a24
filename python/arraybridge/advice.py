# SPDX-License-Identifier: MIT
"""What may have been meant, and what else helps: asked for once something has failed."""

from __future__ import annotations

import sys

from ._library import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The dtypes worth naming in a message.
DTYPES = (
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
    "float64", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
)  # fmt: skip

#: How people call the backends besides.
BACKENDS_CALLED = {
    "pytorch": "torch",
    "tf": "tensorflow",
    "keras": "tensorflow",
    "cle": "pyclesperanto",
    "clesperanto": "pyclesperanto",
    "np": "numpy",
    "cp": "cupy",
    "jnp": "jax",
}
_DEVICES = ("cpu", "cuda", "opencl", "rocm", "vulkan", "metal", "oneapi", "webgpu", "host", "accelerator:0")
_DEVICES_CALLED = {
    "gpu": "accelerator:0",
    "mps": "metal",
    "cl": "opencl",
    "ocl": "opencl",
    "nvidia": "cuda",
    "amd": "rocm",
    "hip": "rocm",
    "xpu": "oneapi",
}


def similar(wrong: str, names: Sequence[str], called: Mapping[str, str] | None = None) -> list[str]:
    """Those of ``names`` that ``wrong`` may have meant, best first; ``called``: other words for them."""
    from difflib import get_close_matches

    plain = wrong.strip().lower()
    meant = (called or {}).get(plain, plain)
    return [meant] if meant in names else get_close_matches(plain, names, n=2)


def question_of(names: Sequence[str]) -> str:
    """``"; did you mean torch?"``; empty without names."""
    return f"; did you mean {' or '.join(names)}?" if names else ""


def question(what: str, wrong: str) -> str:
    """The question to a ``wrong`` "dtype" or "device"."""
    if what == "dtype":
        return question_of(similar(wrong, DTYPES))
    kind = wrong.partition(":")[0]
    return question_of(similar(kind, _DEVICES, _DEVICES_CALLED))


def _is_cpu_build_of_torch() -> bool:
    version = getattr(sys.modules.get("torch"), "version", None)
    return version is not None and not getattr(version, "cuda", None) and not getattr(version, "hip", None)


def advice(target: str, reason: str, hint: str, status: str) -> str:
    """``hint``, and what only Python knows."""
    if status == "NO_BACKEND":
        meant = similar(target, [str(row["name"]) for row in native.backends()], BACKENDS_CALLED)
        return f"did you mean {' or '.join(meant)}?" if meant and f'backend "{target}"' in reason else hint
    if status == "NO_DEVICE" and target == "torch" and "cuda" in reason and _is_cpu_build_of_torch():
        return f"{hint}; this torch is a CPU build".lstrip("; ")
    return hint
