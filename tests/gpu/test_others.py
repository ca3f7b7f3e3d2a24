"""TensorFlow and pyclesperanto on a GPU, where they are installed. Apart from the rest: either may end the process."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from .gpu_arrays import GPU, MAKE, READ, arraybridge, np, random_array, raw, ready


@pytest.fixture(scope="module")
def tensorflow() -> Any:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("tensorflow is not installed")
    import tensorflow

    if not tensorflow.config.list_physical_devices("GPU"):
        pytest.skip("this TensorFlow sees no GPU")
    return tensorflow


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "complex128"])
@pytest.mark.parametrize("other", GPU)
def test_tensorflow_on_the_gpu(other: str, dtype: str, tensorflow: Any) -> None:
    array = random_array(dtype, (16, 16))
    with tensorflow.device("/GPU:0"):
        tensor = tensorflow.constant(array)
    assert READ[other](ready(arraybridge.convert(tensor, other))) == (dtype, (16, 16), raw(array))
    back = arraybridge.convert(MAKE[other](array), "tensorflow")
    assert "GPU:0" in back.device
    assert raw(back.numpy()) == raw(array)


@pytest.fixture(scope="module")
def pyclesperanto() -> Any:
    if importlib.util.find_spec("pyclesperanto") is None:
        pytest.skip("pyclesperanto is not installed")
    import pyclesperanto

    try:
        pyclesperanto.select_device()
    except Exception as error:
        pytest.skip(f"pyclesperanto finds no device: {error}")
    return pyclesperanto


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32"])
@pytest.mark.parametrize("other", [*GPU, "numpy"])
def test_pyclesperanto_on_an_accelerator(other: str, dtype: str, pyclesperanto: Any) -> None:
    array = np.random.default_rng(1).integers(0, 100, (4, 30, 50)).astype(dtype)
    there = arraybridge.convert(MAKE[other](array), "pyclesperanto")
    assert raw(pyclesperanto.pull(there)) == raw(array)
    assert READ[other](ready(arraybridge.convert(there, other))) == (dtype, (4, 30, 50), raw(array))


def test_pyclesperanto_sees_what_a_busy_stream_makes(pyclesperanto: Any) -> None:
    """Its queue is no CUDA stream: the array has to be ready before it is taken."""
    from .busy_streams import SIZE, durations, sleep
    from .gpu_arrays import torch

    stream = torch.cuda.Stream()
    for number, milliseconds in durations(20):
        with torch.cuda.stream(stream):
            sleep(stream, milliseconds)
            made = torch.full((SIZE // 1024, 1024), float(number), device="cuda")
            there = arraybridge.convert(made, "pyclesperanto")
        assert (pyclesperanto.pull(there) == number).all()
