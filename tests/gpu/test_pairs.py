"""Every pair that involves a GPU: CuPy, and the CUDA side of torch and JAX. test_others.py has the other frameworks.

Run by hand on such a machine: ``python -m pytest tests/gpu``. Without a GPU the whole file is skipped, and says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from .gpu_arrays import (
    DTYPES,
    GPU,
    JAX_GPU,
    MAKE,
    POINTER,
    READ,
    arraybridge,
    cupy,
    current,
    holds,
    np,
    random_array,
    raw,
    ready,
    torch,
)  # fmt: skip

Array = Any
SHAPES = [(3, 4, 5), (), (3, 0, 5), (2, 1, 3, 1, 2, 1, 2)]


# ---------------------------------------------------------------- on the device


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", GPU)
@pytest.mark.parametrize("source", GPU)
def test_same_bits_arrive_on_the_device(source: str, target: str, dtype: str, shape: tuple[int, ...]) -> None:
    if not holds(source, dtype):
        pytest.skip(f"{source} has no {dtype}")
    array = random_array(dtype, shape)
    made = MAKE[source](array)
    if not holds(target, dtype):
        with pytest.raises(arraybridge.MemoryConversionError, match=dtype):
            arraybridge.convert(made, target)
        return
    with arraybridge.records() as log:
        result = arraybridge.convert(made, target)
    assert arraybridge.detect_memory_type(result) == target
    assert READ[target](result) == (dtype, shape, raw(array))
    if source != target and array.size:
        assert POINTER[target](result) == POINTER[source](made)
        assert log[0].shared and not log[0].copied


@pytest.mark.parametrize("target", GPU)
@pytest.mark.parametrize("source", GPU)
def test_what_one_writes_the_other_sees(source: str, target: str) -> None:
    if source == "jax":
        pytest.skip("nothing writes to a JAX array")
    made = MAKE[source](np.zeros((64, 64), np.float32))
    result = arraybridge.convert(made, target)
    made[3, 5] = 7
    torch.cuda.synchronize()
    assert float(result[3, 5]) == 7


@pytest.mark.parametrize("target", GPU)
@pytest.mark.parametrize("source", GPU)
def test_a_copy_is_exact_and_somewhere_else(source: str, target: str) -> None:
    array = random_array("float32", (33, 65))
    made = MAKE[source](array)
    result = ready(arraybridge.convert(made, target, copy=True))
    assert READ[target](result)[2] == raw(array)
    assert POINTER[target](result) != POINTER[source](made)


@pytest.mark.parametrize("target", GPU)
@pytest.mark.parametrize("source", GPU)
def test_the_chain_goes_back_to_the_same_memory(source: str, target: str) -> None:
    made = MAKE[source](random_array("float32", (8, 8)))
    back = arraybridge.convert(arraybridge.convert(made, target), source)
    assert POINTER[source](back) == POINTER[source](made)


# ---------------------------------------------------------------- layouts

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda a: a.transpose(2, 0, 1) if not isinstance(a, torch.Tensor) else a.permute(2, 0, 1),
    "stepped": lambda a: a[::2, 1:, ::3],
    "offset": lambda a: a[1:],
    "one column": lambda a: a[:, :, 3],
    "broadcast": lambda a: (
        a[:1].expand(6, 8, 10)
        if isinstance(a, torch.Tensor)
        else (cupy if isinstance(a, cupy.ndarray) else np).broadcast_to(a[:1], (6, 8, 10))
    ),
    "empty": lambda a: a[:, 3:3],
}
NEGATIVE: dict[str, Callable[[Any], Any]] = {
    "reversed": lambda a: a[::-1, :, ::-1],
    "reversed and stepped": lambda a: a[::-2, 1:, ::3],
}


@pytest.mark.parametrize("layout", [*LAYOUTS, *NEGATIVE])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "complex128"])
@pytest.mark.parametrize("target", [*GPU, "numpy"])
@pytest.mark.parametrize("source", ["cupy", "torch"])
def test_views_arrive(source: str, target: str, dtype: str, layout: str) -> None:
    if layout in NEGATIVE and source == "torch":
        pytest.skip("torch has no negative strides")
    view = {**LAYOUTS, **NEGATIVE}[layout]
    array = random_array(dtype, (6, 8, 10))
    result = ready(arraybridge.convert(view(MAKE[source](array)), target))
    expected = view(array)
    assert READ[target](result) == (dtype, expected.shape, raw(expected))


@pytest.mark.parametrize("resolve", ["conj", "neg"])
@pytest.mark.parametrize("target", ["cupy", "jax", "numpy"])
def test_lazy_views_of_torch_are_resolved(target: str, resolve: str) -> None:
    tensor = torch.arange(12, device="cuda", dtype=torch.float32).reshape(3, 4).to(torch.complex64) * (1 + 2j)
    lazy = tensor.conj() if resolve == "conj" else torch._neg_view(tensor)
    result = ready(arraybridge.convert(lazy, target))
    assert READ[target](result)[2] == raw(lazy.resolve_conj().resolve_neg().cpu().numpy())


# ---------------------------------------------------------------- host and device

HOST_LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "c": lambda a: a.copy(),
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1, :, ::-1],
    "stepped": lambda a: np.repeat(a, 2, axis=2)[:, :, ::2],
    "broadcast": lambda a: np.broadcast_to(a[:1], (3, 4, 5)),
    "byte swapped": lambda a: a.astype(a.dtype.newbyteorder(">")) if a.dtype.isbuiltin == 1 else a,
}


@pytest.mark.parametrize("layout", HOST_LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("framework", GPU)
def test_host_arrays_go_there_and_back(framework: str, dtype: str, layout: str) -> None:
    if not holds(framework, dtype):
        pytest.skip(f"{framework} has no {dtype}")
    array = HOST_LAYOUTS[layout](random_array(dtype, (3, 4, 5)))
    there = ready(arraybridge.convert(array, framework, device="cuda:0"))
    assert READ[framework](there) == (dtype, array.shape, raw(array))
    back = arraybridge.convert(there, "numpy")
    assert back.dtype == DTYPES[dtype]
    assert back.tobytes() == raw(array)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "complex128"])
@pytest.mark.parametrize("target", GPU)
@pytest.mark.parametrize("source", ["torch on the host", "jax on the host"])
def test_host_arrays_of_others_go_to_the_gpu(source: str, target: str, dtype: str) -> None:
    array = random_array(dtype, (7, 9))
    result = ready(arraybridge.convert(MAKE[source](array), target, device="cuda:0"))
    assert READ[target](result) == (dtype, (7, 9), raw(array))


@pytest.mark.parametrize("mebibytes", [1, 3, 65])
@pytest.mark.parametrize("framework", GPU)
def test_arrays_of_many_chunks_go_there_and_back(framework: str, mebibytes: int) -> None:
    array = random_array("float32", (mebibytes, 1 << 18))[:, 1:]  # no whole number of pages, let alone of chunks
    array = np.ascontiguousarray(array)
    there = ready(arraybridge.convert(array, framework, device="cuda:0"))
    assert READ[framework](there)[2] == array.tobytes()
    assert arraybridge.convert(there, "numpy").tobytes() == array.tobytes()


@pytest.mark.parametrize("framework", GPU)
def test_pinned_memory_goes_there(framework: str) -> None:
    pinned = torch.empty(1 << 22, dtype=torch.uint8, pin_memory=True)
    pinned.copy_(torch.from_numpy(random_array("uint8", (1 << 22,))))
    result = ready(arraybridge.convert(pinned.numpy(), framework, device="cuda:0"))
    assert READ[framework](result)[2] == pinned.numpy().tobytes()


@pytest.mark.parametrize("framework", GPU)
def test_a_host_array_may_be_written_after_the_conversion(framework: str) -> None:
    array = np.full(1 << 22, 3, np.float32)
    result = arraybridge.convert(array, framework, device="cuda:0")
    array[:] = -1
    assert set(np.frombuffer(READ[framework](ready(result))[2], np.float32)) == {3.0}


# ---------------------------------------------------------------- current device, stream and context


@pytest.mark.parametrize("source", [*GPU, "numpy"])
@pytest.mark.parametrize("target", [*GPU, "numpy"])
def test_what_is_current_stays(source: str, target: str) -> None:
    made = MAKE[source](random_array("float32", (4, 4)))
    arraybridge.convert(made, target)  # the first conversion may wake a framework
    before = current()
    arraybridge.convert(made, target)
    with pytest.raises(arraybridge.MemoryConversionError):
        arraybridge.convert(made, target, device="cuda:99")
    assert current() == before


def test_what_is_current_stays_through_decorated_functions() -> None:
    made = {name: MAKE[name](random_array("float32", (4, 4))) for name in GPU}

    def fails(image: Any) -> Any:
        raise ZeroDivisionError

    before = current()
    for worker in GPU:
        decorator = arraybridge.backend(worker)
        for source in GPU:
            decorator(lambda image: image + 1)(made[source])
            with pytest.raises(ZeroDivisionError):
                decorator(fails)(made[source])
    assert current() == before


def test_a_thread_that_has_done_nothing_yet_can_convert() -> None:
    made = MAKE["cupy"](random_array("float32", (4, 4)))
    found: list[Any] = []

    def work() -> None:
        found.append(arraybridge.convert(made, "torch"))
        found.append((cupy.cuda.runtime.getDevice(), torch.cuda.current_device()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert found[0].data_ptr() == made.data.ptr
    assert found[1] == (0, 0)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU only")
@pytest.mark.parametrize("target", GPU)
@pytest.mark.parametrize("source", GPU)
def test_from_one_gpu_to_another(source: str, target: str) -> None:
    array = random_array("float32", (64, 64))
    made = MAKE[source](array)
    before = current()
    result = ready(arraybridge.convert(made, target, device="cuda:1"))
    assert current() == before
    assert READ[target](result)[2] == raw(array)


def test_jax_arrays_are_on_the_gpu() -> None:
    """Else much of this file would test the host."""
    assert JAX_GPU.platform == "gpu"
    assert next(iter(MAKE["jax"](np.ones(3, np.float32)).devices())) == JAX_GPU
