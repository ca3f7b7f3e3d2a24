"""What refusals advise, and what plans and records note: the words a user acts on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import arraybridge
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
import torch
from arraybridge.command.plan import in_options

A = np.zeros((2, 3), np.float32)


class Offers:
    """No array of a framework, but one for NumPy."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray[Any, Any]:
        return A


def deleted() -> jax.Array:
    array = jnp.zeros(3)
    array.delete()
    return array


@pytest.mark.parametrize("thing", [[1, 2], (1.5,), 1.5, 3, 1j, True, np.float32(1), Offers()])
def test_what_numpy_takes_is_sent_there(thing: object) -> None:
    with pytest.raises(arraybridge.MemoryConversionError) as caught:
        arraybridge.convert(thing, "torch")
    assert caught.value.hint == "pass np.asarray(x)"
    with pytest.raises(ValueError, match=r"pass np\.asarray"):
        arraybridge.detect_memory_type(thing)


def test_none_is_told_apart_and_others_get_no_advice() -> None:
    with pytest.raises(arraybridge.MemoryConversionError, match="it is None"):
        arraybridge.convert(None, "torch")
    with pytest.raises(arraybridge.MemoryConversionError) as caught:
        arraybridge.convert("text", "torch")
    assert caught.value.hint == ""


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("pytorch", "torch"), ("Torch", "torch"), ("tf", "tensorflow"), ("cle", "pyclesperanto"), ("np", "numpy"),
     ("cp", "cupy"), ("jnp", "jax"), ("tourch", "torch")],
)  # fmt: skip
def test_a_wrong_name_is_asked_about(wrong: str, meant: str) -> None:
    with pytest.raises(arraybridge.UnknownBackendError) as caught:
        arraybridge.convert(A, wrong)
    assert caught.value.hint == f"did you mean {meant}?"


def test_a_name_like_no_other_leads_to_the_doctor() -> None:
    with pytest.raises(arraybridge.UnknownBackendError, match="arraybridge doctor"):
        arraybridge.convert(A, "zzz")


@pytest.mark.parametrize(
    ("short", "long"),
    [("f4", "float32"), ("<f8", "float64"), ("i8", "int64"), ("u1", "uint8"), ("?", "bool"), ("c16", "complex128"),
     ("half", "float16")],
)  # fmt: skip
def test_the_short_codes_of_numpy_are_dtypes(short: str, long: str) -> None:
    assert arraybridge.convert(A, "numpy", dtype=short, casting="unsafe").dtype == np.dtype(long)


def test_a_wrong_dtype_is_asked_about() -> None:
    with pytest.raises(ValueError, match=r"did you mean float32\?.*bool, uint8"):
        arraybridge.convert(A, "numpy", dtype="flaot32")


def test_a_wrong_device_is_told_which_there_are() -> None:
    for wrong, said in (("gpu", "accelerator:0"), ("mps", "metal"), ("cudda", "cuda")):
        with pytest.raises(ValueError, match=rf'"oneapi".*did you mean {said}\?'):
            arraybridge.convert(A, "torch", device=wrong)
    with pytest.raises(arraybridge.MemoryConversionError, match="it has: cpu:0") as caught:
        arraybridge.convert(A, "torch", device="opencl:5")
    assert caught.value.status == "NO_DEVICE"


@pytest.mark.skipif(torch.version.cuda is not None, reason="this torch has CUDA")
def test_a_torch_for_cpus_is_named() -> None:
    with pytest.raises(arraybridge.MemoryConversionError, match="this torch is a CPU build"):
        arraybridge.convert(A, "torch", device="cuda")


@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (lambda: np.zeros((1, 2, 3, 4), np.float32), "x[i]"),
        (lambda: np.zeros((), np.float32), "x.reshape(1)"),
        (lambda: np.zeros((0, 3), np.float32), "leave it out"),
        (lambda: np.zeros(3, np.complex64), "x.real, x.imag"),
        (lambda: np.zeros(3, object), "x.astype()"),
        (lambda: np.array(["a"]), "x.astype("),
        (lambda: torch.zeros(3, device="meta"), "real device"),
        (lambda: tf.constant(["a"]), "x.numpy()"),
        (deleted, "convert it before"),
    ],
)
def test_each_array_that_cannot_go_gets_a_hint(array: Callable[[], Any], hint: str) -> None:
    with pytest.raises(arraybridge.MemoryConversionError) as caught:
        arraybridge.convert(array(), "pyclesperanto")
    assert hint in caught.value.hint


def test_following_the_hint_of_a_cast_is_a_choice_that_is_explained() -> None:
    large = np.array([2**40 + 1])
    with pytest.raises(arraybridge.MemoryConversionError) as caught:
        arraybridge.convert(large, "torch", dtype="int32")
    for word in ('casting="same_kind"', "values outside int32 would wrap", 'scaling="clip"', 'scaling="exact"'):
        assert word in caught.value.hint
    assert arraybridge.convert(large, "torch", dtype="int32", casting="same_kind").tolist() == [1]
    assert arraybridge.convert(large, "torch", dtype="int32", scaling="clip").tolist() == [2**31 - 1]
    with pytest.raises(arraybridge.MemoryConversionError):
        arraybridge.convert(large, "torch", dtype="int32", scaling="exact")
    safe = arraybridge.plan(A, "numpy", dtype="float64")
    assert safe.hint == 'pass casting="safe" to allow it'


# ---------------------------------------------------------------- notes


@pytest.mark.parametrize(
    ("array", "target", "note"),
    [
        (lambda: np.zeros(3), "jax", "cut to 32 bits"),
        (lambda: np.zeros(64, np.float32), "jax", "the source stays writable"),
        (lambda: jnp.zeros(64), "torch", "writing to the result changes the array of jax"),
        (lambda: torch.zeros(3, requires_grad=True), "numpy", "detached"),
        (lambda: torch.zeros(3, dtype=torch.complex64).conj(), "numpy", "conjugate"),
    ],
)
def test_plan_and_record_note_the_same(array: Callable[[], Any], target: str, note: str) -> None:
    x = array()
    if isinstance(x, np.ndarray) and note != "cut to 32 bits":  # JAX shares what lies on a multiple of 64 only
        memory = np.zeros(64 * 4 + 64, np.uint8)
        start = -memory.ctypes.data % 64
        x = memory[start : start + 256].view(np.float32)
    planned = arraybridge.plan(x, target)
    with arraybridge.records() as log:
        arraybridge.convert(x, target)
    assert any(note in one for one in planned.notes), planned
    assert planned.notes == log[0].notes
    assert f"note    {planned.notes[0]}" in str(planned) and f"note    {planned.notes[0]}" in str(log[0])
    assert planned.to_json()["notes"] == list(planned.notes)


def test_without_a_reason_there_is_no_note() -> None:
    assert arraybridge.plan(A, "torch").notes == ()
    assert arraybridge.plan(np.asarray(jnp.zeros(3)), "torch").notes == ()
    with jax.enable_x64(True):
        assert not any("32 bits" in note for note in arraybridge.plan(np.zeros(3), "jax").notes)


def test_a_record_prints_as_a_plan_does() -> None:
    with arraybridge.records() as log:
        arraybridge.convert(A[:, ::-1], "torch")
    head, *rows = str(log[0]).splitlines()
    assert head.startswith("numpy (cpu:0) -> torch (cpu:0), float32, 24 B: copies 24 B, ")
    assert rows[0].startswith("  refused exchange") and rows[-1].startswith("  taken   pivot+exchange")


def test_a_plan_of_the_impossible_leaves_out_what_is_unknown() -> None:
    text = str(arraybridge.plan(np.zeros(3, object), "jax"))
    assert text.startswith("numpy -> jax: not possible: an object array") and " 0 B" not in text


def test_hints_become_options_of_the_command() -> None:
    said = in_options('pass dtype="float32", casting="same_kind" (scaling="exact" refuses)')
    assert said == "pass --to-dtype float32 --casting same_kind (--scaling exact refuses)"
    assert in_options("pass copy=None to allow it") == "pass --copy if-needed to allow it"
