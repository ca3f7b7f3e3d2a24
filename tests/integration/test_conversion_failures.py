"""An exception in the middle of a conversion: it comes out, and everything that the slots had is released.

The children are functions of this file, see children.py; how it is done is in injection.py.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge import convert
from children import Children
from frameworks import NAMES, READ
from injection import SHOW, and_all_is_gone, array_of, check, sweep

pytestmark = pytest.mark.alone  # memory is measured

# ---------------------------------------------------------------- conversions


@and_all_is_gone
def sweep_conversion(source: str, target: str, dtype: str, keywords: dict[str, Any]) -> dict[str, Any]:
    keywords = dict(keywords)
    switch, view = keywords.pop("switch", ""), keywords.pop("view", "")
    if switch:
        os.environ[switch] = "1"
    for name in dict.fromkeys((source, target, "numpy")):
        SHOW[name]()
    array = array_of(source, dtype)
    array = VIEWS[view](array)
    expected = READ[source](array.read_value() if view == "variable" else array)

    def right(result: Any) -> bool:
        return READ[target](result)[1:] == expected[1:]

    return sweep(functools.partial(convert, array, target, **keywords), right, array)


def _variable(array: Any) -> Any:
    import tensorflow as tf

    return tf.Variable(array)


def _subclass(array: Any) -> Any:
    import torch

    return array.as_subclass(type("Subclass", (torch.Tensor,), {}))


def _sharded(array: Any) -> Any:
    import jax

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("x",))
    return jax.device_put(array, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x")))


VIEWS: dict[str, Callable[[Any], Any]] = {
    "": lambda array: array,
    "strange": lambda array: array[::-1, ::2],
    "swapped": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "conj": lambda array: array.conj(),
    "negative": lambda array: array.conj().imag,
    "variable": _variable,
    "subclass": _subclass,
    "sharded": _sharded,
}


# ---------------------------------------------------------------- what asks a framework about itself


@and_all_is_gone
def sweep_question(name: str, question: str) -> dict[str, Any]:
    """The slot `devices`, as the public function asks."""
    array = array_of(name, "float32")
    SHOW[name]()
    convert(array, "numpy")
    ask = functools.partial(getattr(arraybridge, question), name)
    return sweep(ask, lambda found: len(found) > 0, array)


# ---------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    started = Children()
    yield started
    started.close()


TORCH_PUBLIC = {"switch": "ARRAYBRIDGE_TORCH_PUBLIC"}
TENSORFLOW_PUBLIC = {"switch": "ARRAYBRIDGE_TENSORFLOW_PUBLIC"}
JAX_PUBLIC = {"switch": "ARRAYBRIDGE_JAX_PUBLIC"}

CONVERSIONS: dict[str, tuple[str, str, str, dict[str, Any], list[str]]] = {
    "torch out": ("torch", "numpy", "float32", {}, ["is_neg", "untyped_storage"]),
    "torch out, conjugated": ("torch", "numpy", "complex64", {"view": "conj"}, ["is_conj", "detach", "resolve_conj"]),
    "torch out, negative": ("torch", "numpy", "complex64", {"view": "negative"}, ["detach", "resolve_neg"]),
    "torch out, subclass": ("torch", "numpy", "float32", {"view": "subclass"}, ["as_subclass", "is_neg"]),
    "torch out, public": ("torch", "numpy", "float32", TORCH_PUBLIC, ["stride", "data_ptr", "shape", "device"]),
    "torch in, public": ("numpy", "torch", "float32", TORCH_PUBLIC, ["from_dlpack"]),
    "torch in, public, copied": ("numpy", "torch", "float32", {**TORCH_PUBLIC, "view": "strange"}, ["from_dlpack"]),
    "tensorflow out": ("tensorflow", "torch", "float32", {}, ["TFE_ToDlpackCapsule", "_datatype_enum"]),
    "tensorflow out, float8": ("tensorflow", "numpy", "float8_e5m2", {}, ["_shape_tuple", "numpy.asarray"]),
    "tensorflow out, variable": ("tensorflow", "numpy", "float32", {"view": "variable"}, ["TFE_ToDlpackCapsule"]),
    "tensorflow out, public": ("tensorflow", "torch", "float32", TENSORFLOW_PUBLIC, ["to_dlpack"]),
    "tensorflow in": ("numpy", "tensorflow", "float32", {}, ["TFE_FromDlpackCapsule"]),
    "tensorflow in, copied": ("numpy", "tensorflow", "float32", {"view": "strange"}, ["TFE_FromDlpackCapsule"]),
    "tensorflow in, float8": ("numpy", "tensorflow", "float8_e5m2", {}, ["numpy.ndarray"]),
    "tensorflow in, public": ("numpy", "tensorflow", "float32", TENSORFLOW_PUBLIC, ["from_dlpack"]),
    "jax out, no buffer": (
        "jax", "numpy", "bfloat16", {}, ["is_deleted", "dtype", "addressable_data", "buffer_to_dlpack_managed_tensor"],
    ),
    "jax out, sharded": (
        "jax", "numpy", "float32", {"view": "sharded"}, ["is_fully_addressable", "devices", "numpy.asarray"],
    ),
    "jax in": ("numpy", "jax", "float32", {}, ["dlpack_managed_tensor_to_buffer", "local_devices"]),
    "jax in, copied": ("numpy", "jax", "float32", {"view": "strange"}, ["dlpack_managed_tensor_to_buffer"]),
    "jax in, public": ("numpy", "jax", "float32", JAX_PUBLIC, ["from_dlpack"]),
    "pyclesperanto out": ("pyclesperanto", "numpy", "float32", {}, ["shape", "dtype", "device", "mtype", "__dlpack__"]),
    "pyclesperanto in": ("numpy", "pyclesperanto", "float32", {}, ["_from_dlpack"]),
    "pyclesperanto in, copied": ("numpy", "pyclesperanto", "float32", {"copy": True}, ["_from_dlpack"]),
}  # fmt: skip
"""The pair, what goes across and how; and some of the places that must be among those where an exception was raised."""


@pytest.mark.parametrize("case", CONVERSIONS)
def test_an_exception_in_a_conversion_releases_everything(children: Children, case: str) -> None:
    source, target, dtype, keywords, places = CONVERSIONS[case]
    check(children.run(__name__, "sweep_conversion", source, target, dtype, keywords).check(), *places)


@pytest.mark.parametrize("question", ["list_devices"])
@pytest.mark.parametrize("name", NAMES[1:])
def test_an_exception_in_a_question_releases_everything(children: Children, name: str, question: str) -> None:
    check(children.run(__name__, "sweep_question", name, question).check())
