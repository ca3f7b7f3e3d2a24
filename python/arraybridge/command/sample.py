# SPDX-License-Identifier: MIT
"""Arrays to try things with."""

from __future__ import annotations

from ..advice import DTYPES, question_of, similar
from .refusal import Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: How a sample can lie in memory, and what that means. NumPy's own large arrays are "misaligned".
LAYOUTS = {
    "c": "C order, 64-byte aligned",
    "fortran": "Fortran order, 64-byte aligned",
    "negative": "negative stride in the last axis",
    "byteswapped": "the other byte order",
    "readonly": "not writeable, 64-byte aligned",
    "misaligned": "C order, 16 bytes past a multiple of 64",
}

_ALIGNMENT = 64


def _extra_dtype(name: str) -> Any:
    """A dtype of ml_dtypes; None if it has none of that name."""
    try:
        import ml_dtypes
    except ImportError:
        if name.startswith(("bfloat", "float8", "float6", "float4")):
            raise Refusal(f"NumPy has no {name} of its own", "pip install ml_dtypes") from None
        return None
    return getattr(ml_dtypes, name, None)


def numpy_dtype(name: str) -> Any:
    """The dtype of that name, those of ml_dtypes included.

    Raises
    ------
    Refusal
        There is none.
    """
    import numpy

    try:
        return numpy.dtype(name)
    except TypeError:
        pass
    made = _extra_dtype(name)
    if made is None:
        raise Refusal(
            f'there is no dtype "{name}"{question_of(similar(name, DTYPES))}', f"there is {', '.join(DTYPES)}"
        )  # fmt: skip
    return numpy.dtype(made)


def host_array(dtype: str, shape: tuple[int, ...], layout: str = "c") -> Any:
    """A NumPy array of zeros.

    Parameters
    ----------
    dtype : str
        Name of a dtype, those of ml_dtypes included.
    shape : tuple of int
        Elements along each axis.
    layout : str
        A key of LAYOUTS.
    """
    import numpy

    kind = numpy_dtype(dtype)
    count = int(numpy.prod(shape, dtype=object)) * kind.itemsize
    memory = numpy.zeros(count + 2 * _ALIGNMENT, numpy.uint8)
    start = -memory.ctypes.data % _ALIGNMENT + (16 if layout == "misaligned" else 0)
    array = memory[start : start + count].view(kind).reshape(shape, order="F" if layout == "fortran" else "C")
    if layout == "negative":
        return array[..., ::-1]
    if layout == "byteswapped":
        return array.view(kind.newbyteorder())
    if layout == "readonly":
        array.flags.writeable = False
    return array


def _has_layout(description: Any, layout: str) -> bool:
    if layout == "negative":
        return any(stride < 0 for stride in description.strides)
    if layout == "byteswapped":
        return bool(description.byte_swapped)
    if layout == "readonly":
        return bool(description.mutability == "read-only")
    if layout == "fortran":
        wide = [stride for stride, length in zip(description.strides, description.shape, strict=True) if length > 1]
        return wide == sorted(wide)
    return True


def source_array(framework: str, dtype: str, shape: tuple[int, ...], layout: str = "c") -> Any:
    """An array of ``framework``, made from a NumPy array through arraybridge.

    Raises
    ------
    Refusal
        The framework's arrays cannot have that layout.
    MemoryConversionError
        It has no such array at all.
    """
    import arraybridge

    array = host_array(dtype, shape, layout)
    if framework == "numpy":
        return array
    # In memory of its own, where the layout leaves the choice: as if the framework had made it.
    made = arraybridge.convert(array, framework, copy=True if layout == "c" else None)
    if not _has_layout(arraybridge.describe(made), layout):
        raise Refusal(f"{framework} cannot hold an array with {LAYOUTS[layout]}", "try --layout c, or numpy as FROM")
    return made
