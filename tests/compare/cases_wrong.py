"""Where the older releases are wrong: every entry of that list, one case or more each."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
from case import Cases, array, place, raises

case = Cases()


def aligned(values: list, dtype: str) -> np.ndarray:
    """An array at a multiple of 64 bytes, so that everybody can share it."""
    source = np.array(values, dtype=dtype)
    room = np.empty(source.nbytes + 64, dtype=np.uint8)
    start = -room.ctypes.data % 64
    made = room[start : start + source.nbytes].view(dtype).reshape(source.shape)
    made[...] = source
    return made


def to(data, source, target):
    from arraybridge import convert_memory

    return convert_memory(data, source, target, place())


# ---------------------------------------------------------------- inputs that fail or abort


@case(array("torch", "float32", [3, 2, 1, 0]), needs="torch")
def a_negative_stride_into_torch():
    return to(np.arange(4, dtype=np.float32)[::-1], "numpy", "torch")


@case(array("jax", "float32", [3, 2, 1, 0]), needs="jax")
def a_negative_stride_into_jax():
    return to(np.arange(4, dtype=np.float32)[::-1], "numpy", "jax")


@case(array("torch", "float32", [0, 1, 2]), needs="torch")
def swapped_bytes_into_torch():
    return to(np.arange(3, dtype=">f4"), "numpy", "torch")


@case([2.0, 4.0, 6.0], needs="tensorflow")
def misaligned_memory_into_tensorflow_and_used():
    result = to(np.arange(4, dtype=np.float32)[1:], "numpy", "tensorflow")
    return [float(value) for value in (result + result).numpy()]


@case([2.0, 4.0, 6.0], needs="torch tensorflow")
def a_misaligned_tensor_into_tensorflow_and_used():
    import torch

    result = to(torch.arange(4, dtype=torch.float32)[1:], "torch", "tensorflow")
    return [float(value) for value in (result + result).numpy()]


@case([6.0, 4.0, 2.0], needs="tensorflow")
def a_negative_stride_into_tensorflow_and_used():
    result = to(np.arange(4, dtype=np.float32)[:0:-1], "numpy", "tensorflow")
    return [float(value) for value in (result + result).numpy()]


@case(array("numpy", "bfloat16", [1, 2.5]), needs="torch")
def bfloat16_from_torch():
    import torch

    return to(torch.tensor([1, 2.5], dtype=torch.bfloat16), "torch", "numpy")


@case(array("torch", "bfloat16", [1, 2.5]), needs="torch ml_dtypes")
def bfloat16_into_torch():
    import ml_dtypes

    return to(np.array([1, 2.5], dtype=ml_dtypes.bfloat16), "numpy", "torch")


@case(array("numpy", "float32", [1, 2]), needs="torch")
def a_tensor_that_wants_a_gradient():
    import torch

    return to(torch.tensor([1.0, 2.0], requires_grad=True), "torch", "numpy")


@case(array("numpy", "complex64", [[1, -2]]), needs="torch")
def a_conjugate_view():
    import torch

    return to(torch.tensor([1 + 2j], dtype=torch.complex64).conj(), "torch", "numpy")


# ---------------------------------------------------------------- dtypes that change in silence


@case([array("jax", "int64", [1099511627781])], needs="jax")
def int64_into_jax():
    return [to(np.array([2**40 + 5]), "numpy", "jax")]


@case([array("jax", "float64", [0.1])], needs="jax")
def float64_into_jax():
    return [to(np.array([0.1]), "numpy", "jax")]


def _dtype_into_pyclesperanto(data):
    """Refusing it for want of a GPU says nothing."""
    try:
        return _pyclesperanto_of(data)
    except Exception as error:
        return "refused for its dtype" if data.dtype.name in str(error) else f"refused: {error}"


@case("refused for its dtype", needs="pyclesperanto")
def int64_into_pyclesperanto():
    return _dtype_into_pyclesperanto(np.array([[2**40 + 5]]))


@case("refused for its dtype", needs="pyclesperanto")
def complex_into_pyclesperanto():
    return _dtype_into_pyclesperanto(np.array([[1 + 2j]], dtype=np.complex64))


@case("refused for its dtype", needs="pyclesperanto")
def bool_into_pyclesperanto():
    return _dtype_into_pyclesperanto(np.array([[True, False]]))


# ---------------------------------------------------------------- pairs, copies, flags


def _pyclesperanto_of(data, source="numpy"):
    from arraybridge import convert_memory

    try:
        from arraybridge import AcceleratorDevice
    except ImportError:
        return convert_memory(data, source, "pyclesperanto", 0)
    return convert_memory(data, source, "pyclesperanto", AcceleratorDevice(0))


def _into_pyclesperanto(source):
    data = np.arange(4, dtype=np.float32).reshape(2, 2)
    return _pyclesperanto_of(data if source == "numpy" else to(data, "numpy", source), source)


@case(array("pyclesperanto", "float32", [[0, 1], [2, 3]]), needs="pyclesperanto")
def numpy_into_pyclesperanto_without_a_gpu():
    return _into_pyclesperanto("numpy")


@case(array("pyclesperanto", "float32", [[0, 1], [2, 3]]), needs="pyclesperanto torch")
def torch_into_pyclesperanto_without_a_gpu():
    return _into_pyclesperanto("torch")


@case(array("pyclesperanto", "float32", [[0, 1], [2, 3]]), needs="pyclesperanto jax")
def jax_into_pyclesperanto_without_a_gpu():
    return _into_pyclesperanto("jax")


@case(array("pyclesperanto", "float32", [[0, 1], [2, 3]]), needs="pyclesperanto tensorflow")
def tensorflow_into_pyclesperanto_without_a_gpu():
    return _into_pyclesperanto("tensorflow")


@case("shared", needs="tensorflow")
def tensorflow_shares_numpy_memory():
    data = aligned([1, 2, 3], "float32")
    result = to(data, "numpy", "tensorflow")
    return "shared" if np.asarray(memoryview(result)).ctypes.data == data.ctypes.data else "copied"


@case([1.0, 2.0], needs="torch")
def read_only_numpy_is_not_written_through_torch():
    data = np.array([1.0, 2.0])
    data.flags.writeable = False
    to(data, "numpy", "torch")[0] = 99
    return data.tolist()


# ---------------------------------------------------------------- values of results


def _decorated(function, image, **keywords):
    from arraybridge import numpy as numpy_memory

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return numpy_memory(function)(image, **keywords)


@case(array("numpy", "uint16", [[100, 150, 200]]))
def preserve_keeps_quantities():
    """A float result of values 100 ... 200 for a uint16 image."""
    return _decorated(lambda image: image.astype(np.float32), np.array([[100, 150, 200]], dtype=np.uint16))


@case(array("numpy", "uint8", [[0, 1, 2, 3]]))
def preserve_keeps_labels():
    """Labels 0 ... 3 computed as floats for a uint8 image."""
    return _decorated(lambda image: image.astype(np.float64), np.array([[0, 1, 2, 3]], dtype=np.uint8))


@case(array("numpy", "uint32", [[0, 4294967295]]))
def float_to_uint32_does_not_overflow():
    try:
        from arraybridge import SCALING_FUNCTIONS
    except ImportError:
        from arraybridge import ArrayLibrary

        return ArrayLibrary.named("numpy").scale_dtype(np.array([[0, 1]], dtype=np.float32), np.uint32)
    return SCALING_FUNCTIONS["numpy"](np.array([[0, 1]], dtype=np.float32), np.uint32)


@case(array("numpy", "uint8", [[255, 255]]))
def a_constant_beyond_the_range_saturates():
    """A constant 300 as uint8, not 44."""
    return _decorated(lambda image: np.full(image.shape, 300, np.float32), np.array([[1, 1]], dtype=np.uint8))


@case(raises("MemoryConversionError"))
def one_nan_does_not_blank_the_image():
    """An error that says where the first NaN is."""
    return _decorated(
        lambda image: np.array([[np.nan, 10, 20]], dtype=np.float32), np.array([[1, 2, 3]], dtype=np.uint8)
    )


@case(array("numpy", "uint8", [[255, 7]]))
def integers_saturate():
    return _decorated(lambda image: np.array([[300, 7]], dtype=np.int32), np.array([[1, 1]], dtype=np.uint8))


# ---------------------------------------------------------------- what is an array, and whose


@case("pyclesperanto", needs="pyclesperanto")
def pyclesperanto_arrays_are_detected():
    import pyclesperanto as cle
    from arraybridge import detect_memory_type

    return detect_memory_type(cle.push(np.ones((2, 2), dtype=np.float32)))


@case(raises("ValueError"), needs="torch")
def a_layer_is_no_array():
    import torch
    from arraybridge import detect_memory_type

    return detect_memory_type(torch.nn.Linear(2, 2))


@case(raises("ValueError"), needs="torch")
def a_dtype_is_no_array():
    import torch
    from arraybridge import detect_memory_type

    return detect_memory_type(torch.float32)


@case(raises("ValueError"), needs="jax")
def a_jax_function_is_no_array():
    import jax
    from arraybridge import detect_memory_type

    return detect_memory_type(jax.jit(lambda x: x))


@case(raises("MemoryConversionError"), needs="torch")
def the_source_type_is_checked():
    import torch

    return to(torch.zeros(2), "numpy", "numpy")


@case("refused", needs="jax")
def a_mask_is_not_lost():
    """A masked array keeps its mask, or is refused."""
    masked = np.ma.array([1.0, 99.0, 2.0], mask=[False, True, False])
    try:
        result = to(masked, "numpy", "jax")
    except Exception:
        return "refused"
    return np.asarray(result).tolist()


# ---------------------------------------------------------------- decorators


@case(array("torch", "float32", [1, 2]), needs="torch")
def decorators_convert():
    from arraybridge import torch as torch_memory

    @torch_memory
    def absolute(image):
        return image.abs()  # a method that only tensors have

    return absolute(np.array([-1, 2], dtype=np.float32))


@case(array("numpy", "float32", [[2, 4]]))
def decorators_on_methods():
    from arraybridge import numpy as numpy_memory

    class Filter:
        factor = 2

        @numpy_memory
        def apply(self, image):
            return image * self.factor

    return Filter().apply(np.array([[1, 2]], dtype=np.float32))


@case(array("numpy", "uint8", [[1, 2]]))
def decorators_on_methods_keep_the_dtype():
    from arraybridge import numpy as numpy_memory

    class Filter:
        @numpy_memory
        def apply(self, image):
            return image.astype(np.float32)

    return Filter().apply(np.array([[1, 2]], dtype=np.uint8))


@case(array("numpy", "float32", [[1, 2]]))
def decorators_with_keyword_arguments():
    from arraybridge import numpy as numpy_memory

    @numpy_memory
    def identity(picture):
        return picture

    return identity(picture=np.array([[1, 2]], dtype=np.float32))


@case(array("jax", "float32", [2, 4]), needs="jax")
def decorators_under_jit():
    import jax
    import jax.numpy as jnp
    from arraybridge import jax as jax_memory

    @jax_memory
    def double(image):
        return (image * 2).astype(jnp.float16)

    return jax.jit(double)(jnp.asarray([1.0, 2.0], dtype=jnp.float32))


# ---------------------------------------------------------------- errors


@case(["torch", "cupy"])
def the_error_unpickles():
    from arraybridge import MemoryConversionError

    back = pickle.loads(pickle.dumps(MemoryConversionError("torch", "cupy", "dlpack", "no GPU")))
    return back.source_type, back.target_type


def _is_oom(error, library):
    try:
        from arraybridge.oom_recovery import _is_oom_error
    except ImportError:
        from arraybridge import ArrayLibrary

        return ArrayLibrary.named(library).is_oom_error(error)
    return _is_oom_error(error, library)


@case(True)
def numpys_own_out_of_memory():
    try:
        np.empty(2**45)
    except MemoryError as error:
        return _is_oom(error, "numpy")
    return None


@case(True, needs="torch")
def torchs_own_out_of_memory_on_the_host():
    import torch

    try:
        torch.empty(2**45)
    except RuntimeError as error:
        return _is_oom(error, "torch")
    return None


@case(True, needs="torch")
def numpys_error_in_a_torch_function():
    try:
        np.empty(2**45)
    except MemoryError as error:
        return _is_oom(error, "torch")
    return None


@case(False, needs="torch")
def a_key_error_about_memory():
    import torch  # noqa: F401

    return _is_oom(KeyError("the patient ran out of memory"), "torch")


@case([True, True], needs="torch")
def a_star_import_leaves_numpy_and_torch_alone():
    space: dict = {}
    exec("import numpy, torch\nfrom arraybridge import *", space)
    return hasattr(space["numpy"], "zeros"), hasattr(space["torch"], "zeros")


# ---------------------------------------------------------------- slices


@case([2, 2, 1, 2])
def four_axes_slice_by_slice():
    seen = []

    def note(image):
        seen.append(image.ndim)
        return image

    result = _decorated(note, np.zeros((2, 2, 1, 2), dtype=np.float32), slice_by_slice=True)
    return list(result.shape) if set(seen) == {2} else f"saw {seen[0]} axes"


@case([0, 2, 3])
def no_slices_at_all():
    result = _decorated(lambda image: image, np.zeros((0, 2, 3), dtype=np.float32), slice_by_slice=True)
    return list(result.shape)


# ---------------------------------------------------------------- streams and memory of a GPU


@case("ordered", needs="torch cupy gpu")
def a_busy_side_stream():
    """A conversion waits for the producer's stream"""
    import cupy
    import torch
    from arraybridge import AcceleratorDevice, convert_memory

    side = cupy.cuda.Stream(non_blocking=True)
    with side:
        data = cupy.zeros(1 << 26, dtype=cupy.float32)
        for _ in range(200):
            data += 1
        result = convert_memory(data, "cupy", "torch", AcceleratorDevice(0))
    with torch.cuda.stream(torch.cuda.Stream()):
        return "ordered" if bool((result == 200).all()) else "too early"


@case([2, "done"], needs="torch")
def recovery_across_frameworks():
    """A torch function that dies of NumPy's error is called again."""
    from arraybridge import torch as torch_memory

    calls = []

    @torch_memory
    def work(image):
        calls.append(1)
        if len(calls) == 1:
            np.empty(2**45)
        return image

    import torch

    work(torch.zeros(2))
    return len(calls), "done"
