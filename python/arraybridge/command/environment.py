# SPDX-License-Identifier: MIT
"""Environment variables that matter to arraybridge and the frameworks it starts."""

from __future__ import annotations

import os

from ..advice import similar
from .finding import Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .finding import Severity

    Judge = Callable[[str], tuple[Severity, str, str]]


def _is(value: str, *words: str) -> bool:
    return value.strip().lower() in words


def _allow_growth(value: str) -> tuple[Severity, str, str]:
    if _is(value, "true", "1"):
        return "ok", "TensorFlow takes GPU memory as it needs it", ""
    return "note", "TensorFlow will take nearly all GPU memory at its first use", "unset it, or set it to true"


def _preallocate(value: str) -> tuple[Severity, str, str]:
    if _is(value, "false", "0"):
        return "ok", "JAX takes GPU memory as it needs it", ""
    return "note", "JAX will take most of the GPU's memory at its first use", "unset it, or set it to false"


def _trust(value: str) -> tuple[Severity, str, str]:
    if value == "1":
        return (
            "note",
            "plugins are loaded from places that others may write",
            "unset it unless you know who can write there",
        )
    return "note", "only the value 1 means anything", "set it to 1, or unset it"


def _build(value: str) -> tuple[Severity, str, str]:
    return "note", "a build folder is used instead of the installed library", "unset it to use the installation"


def _test_switch(value: str) -> tuple[Severity, str, str]:
    return "note", "for tests: the framework's faster private entry points are not used", "unset it"


def _cuda_visible(value: str) -> tuple[Severity, str, str]:
    hidden = value.strip() in ("", "-1")
    return "note", "hides every NVIDIA GPU" if hidden else "only these NVIDIA GPUs are seen", ""


def _plain(text: str, severity: Severity = "note") -> Judge:
    return lambda value: (severity, text, "")


#: Each variable, and what its value means.
_JUDGES: dict[str, Judge] = {
    "ARRAYBRIDGE_PLUGIN_PATH": _plain("plugins are looked for here first", "ok"),
    "ARRAYBRIDGE_TRUST_WRITABLE": _trust,
    "ARRAYBRIDGE_BUILD_DIR": _build,
    "ARRAYBRIDGE_JAX_PUBLIC": _test_switch,
    "ARRAYBRIDGE_TENSORFLOW_PUBLIC": _test_switch,
    "ARRAYBRIDGE_TORCH_PUBLIC": _test_switch,
    "TF_FORCE_GPU_ALLOW_GROWTH": _allow_growth,
    "XLA_PYTHON_CLIENT_PREALLOCATE": _preallocate,
    "XLA_PYTHON_CLIENT_ALLOCATOR": _plain("how JAX allocates GPU memory", "ok"),
    "XLA_PYTHON_CLIENT_MEM_FRACTION": _plain("how much of the GPU's memory JAX may take", "ok"),
    "XLA_FLAGS": _plain("changes how JAX and TensorFlow compile, and how many CPU devices JAX shows"),
    "JAX_PLATFORMS": _plain("JAX uses only these platforms"),
    "CUDA_VISIBLE_DEVICES": _cuda_visible,
    "OCL_ICD_VENDORS": _plain("OpenCL drivers are taken from here alone"),
    "OCL_ICD_FILENAMES": _plain("further OpenCL drivers"),
    "OPENCL_VENDOR_PATH": _plain("OpenCL drivers are taken from here"),
    "KMP_DUPLICATE_LIB_OK": _plain("hides the clash of two OpenMP runtimes; results may be wrong"),
    "OMP_NUM_THREADS": _plain("threads of each OpenMP runtime", "ok"),
}

#: Variables that arraybridge sets before it imports a framework that nobody has imported, if they are not set.
_SET_BY_US = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "not set: arraybridge sets it to true when it imports TensorFlow first",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "not set: arraybridge sets it to false when it imports JAX first",
}


def _unknown(name: str, value: str) -> Finding:
    known = {one.lower(): one for one in _JUDGES if one.startswith("ARRAYBRIDGE_")}
    meant = [known[one] for one in similar(name, list(known))]
    advice = f"did you mean {' or '.join(meant)}?" if meant else "unset it"
    return Finding("environment", "note", f"{name}={value}", "arraybridge knows no such variable", advice)


def judge_environment(variables: Mapping[str, str] = os.environ) -> list[Finding]:
    """One finding for each variable that is set and matters, or is not set and will be."""
    findings = []
    for name, judge in _JUDGES.items():
        if name in variables:
            severity, text, advice = judge(variables[name])
            findings.append(Finding("environment", severity, f"{name}={variables[name]}", text, advice))
        elif name in _SET_BY_US:
            findings.append(Finding("environment", "ok", name, _SET_BY_US[name]))
    ours = [name for name in variables if name.startswith("ARRAYBRIDGE_") and name not in _JUDGES]
    return findings + [_unknown(name, variables[name]) for name in sorted(ours)]
