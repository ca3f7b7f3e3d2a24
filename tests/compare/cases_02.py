"""Code in the form of arraybridge 0.2. The snippets run unchanged; what they expect is what this package gives."""

from __future__ import annotations

import numpy as np
from case import Cases, array, raises

case = Cases()
IMAGE = np.array([[0, 50], [100, 200]], dtype=np.uint8)


def ramp() -> np.ndarray:
    return np.arange(6, dtype=np.float32).reshape(2, 3)


RAMP = [[0, 1, 2], [3, 4, 5]]
NO_GPU = "Without a GPU"
STRETCH = "Nothing is stretched"
CONVERTS = "Decorators convert"
FAILED = "What failed and works"

# ---------------------------------------------------------------- detecting and converting


@case("numpy")
def detects_numpy():
    from arraybridge import detect_memory_type

    return detect_memory_type(ramp())


@case("torch", needs="torch")
def detects_torch():
    import torch
    from arraybridge import detect_memory_type

    return detect_memory_type(torch.zeros(2, 2))


@case("jax", needs="jax")
def detects_jax():
    import jax.numpy as jnp
    from arraybridge import detect_memory_type

    return detect_memory_type(jnp.zeros((2, 2)))


@case("tensorflow", needs="tensorflow")
def detects_tensorflow():
    import tensorflow as tf
    from arraybridge.converters import detect_memory_type

    return detect_memory_type(tf.zeros((2, 2)))


@case(raises("ValueError"))
def a_list_is_no_array():
    from arraybridge import detect_memory_type

    return detect_memory_type([1, 2, 3])


@case(True)
def numpy_to_numpy_is_the_same_object():
    from arraybridge import convert_memory

    data = ramp()
    return convert_memory(data, source_type="numpy", target_type="numpy", gpu_id=0) is data


@case(["torch", array("torch", "int64", [[1, 2], [3, 4]])], needs="torch", differs=NO_GPU)
def quick_start():
    from arraybridge import convert_memory, detect_memory_type

    data = np.array([[1, 2], [3, 4]])
    torch_data = convert_memory(data, source_type="numpy", target_type="torch", gpu_id=0)
    return detect_memory_type(torch_data), torch_data


@case(array("jax", "float32", RAMP), needs="jax")
def numpy_to_jax():
    from arraybridge import convert_memory

    return convert_memory(ramp(), "numpy", "jax", 0)


@case(array("tensorflow", "float32", RAMP), needs="tensorflow")
def numpy_to_tensorflow():
    from arraybridge import convert_memory

    return convert_memory(ramp(), "numpy", "tensorflow", 0)


@case(array("numpy", "float32", RAMP), needs="torch")
def torch_to_numpy():
    import torch
    from arraybridge import convert_memory

    return convert_memory(torch.arange(6, dtype=torch.float32).reshape(2, 3), "torch", "numpy", 0)


@case(array("numpy", "float32", RAMP), needs="jax", differs=FAILED)
def jax_to_numpy():
    import jax.numpy as jnp
    from arraybridge import convert_memory

    return convert_memory(jnp.asarray(ramp()), "jax", "numpy", 0)


@case(array("numpy", "float32", RAMP), needs="tensorflow")
def tensorflow_to_numpy():
    import tensorflow as tf
    from arraybridge import convert_memory

    return convert_memory(tf.constant(ramp()), "tensorflow", "numpy", 0)


@case(array("jax", "float32", RAMP), needs="torch jax")
def torch_to_jax():
    import torch
    from arraybridge import convert_memory

    return convert_memory(torch.arange(6, dtype=torch.float32).reshape(2, 3), "torch", "jax", 0)


@case(array("numpy", "float32", RAMP), needs="torch")
def source_type_from_detection():
    """The function "process_data" of the documentation."""
    import torch
    from arraybridge import convert_memory, detect_memory_type

    def process_data(data, target="torch"):
        source = detect_memory_type(data)
        return convert_memory(data, source_type=source, target_type=target, gpu_id=0)

    return process_data(torch.arange(6, dtype=torch.float32).reshape(2, 3), target="numpy")


@case(array("jax", "float32", RAMP), needs="jax")
def a_member_as_target():
    from arraybridge import MemoryType, convert_memory

    return convert_memory(ramp(), MemoryType.NUMPY.value, MemoryType.JAX, 0)


@case(True)
def an_unknown_target_is_a_value_error():
    from arraybridge import convert_memory

    try:
        convert_memory(ramp(), "numpy", "nonsense", 0)
    except ValueError as error:
        return "nonsense" in str(error)
    return False


@case(True)
def an_unknown_source_is_a_value_error():
    from arraybridge import convert_memory

    try:
        convert_memory(ramp(), "nonsense", "numpy", 0)
    except ValueError as error:
        return "nonsense" in str(error)
    return False


@case([array("jax", "float32", RAMP), array("numpy", "float32", RAMP)], needs="jax", differs=FAILED)
def a_converter_by_name():
    from arraybridge.converters_registry import get_converter

    there = get_converter("numpy").to_jax(ramp(), 0)
    return there, get_converter("jax").to_numpy(there, 0)


@case(raises("ValueError"))
def no_converter_of_that_name():
    from arraybridge.converters_registry import get_converter

    return get_converter("nonsense")


# ---------------------------------------------------------------- types


@case(["numpy", "cupy", "torch", "tensorflow", "jax", "pyclesperanto"])
def members_of_memory_type():
    from arraybridge import MemoryType

    return [member.value for member in MemoryType]


@case([True, True])
def a_member_by_value_and_by_name():
    from arraybridge.types import MemoryType

    return MemoryType("torch") is MemoryType.TORCH, MemoryType["JAX"] is MemoryType.JAX


@case([["numpy"], 5, 6, True])
def sets_of_memory_types():
    from arraybridge import CPU_MEMORY_TYPES, GPU_MEMORY_TYPES, SUPPORTED_MEMORY_TYPES

    return (
        [member.value for member in CPU_MEMORY_TYPES], len(GPU_MEMORY_TYPES), len(SUPPORTED_MEMORY_TYPES),
        CPU_MEMORY_TYPES | GPU_MEMORY_TYPES == SUPPORTED_MEMORY_TYPES,
    )  # fmt: skip


@case([True, False, "torch", "pyclesperanto"])
def names_of_memory_types():
    from arraybridge.types import (
        MEMORY_TYPE_PYCLESPERANTO,
        MEMORY_TYPE_TORCH,
        VALID_GPU_MEMORY_TYPES,
        VALID_MEMORY_TYPES,
    )

    names = (MEMORY_TYPE_TORCH, MEMORY_TYPE_PYCLESPERANTO)
    return "numpy" in VALID_MEMORY_TYPES, "numpy" in VALID_GPU_MEMORY_TYPES, *names


# ---------------------------------------------------------------- decorators


@case(array("numpy", "float32", [[0, 2, 4], [6, 8, 10]]))
def a_decorator_without_parentheses():
    from arraybridge import numpy as numpy_memory

    @numpy_memory
    def double(image):
        return image * 2

    return double(ramp())


@case(["numpy", "numpy", "double", "Twice the image."])
def a_decorator_sets_attributes():
    from arraybridge import numpy as numpy_memory

    @numpy_memory
    def double(image):
        """Twice the image."""
        return image * 2

    doc = (double.__doc__ or "").strip().splitlines()[0]
    return double.input_memory_type, double.output_memory_type, double.__name__, doc


@case(["numpy", "torch"])
def a_decorator_with_types():
    from arraybridge.decorators import torch as torch_memory

    @torch_memory(input_type="numpy", output_type="torch", oom_recovery=True)
    def function(data):
        return data * 2

    return function.input_memory_type, function.output_memory_type


@case(array("torch", "int64", [2, 4, 6]), needs="torch", differs=CONVERTS)
def the_declarative_example():
    """The documentation says that its result is a torch tensor."""
    from arraybridge import torch as torch_memory

    @torch_memory(input_type="numpy", output_type="torch", oom_recovery=True)
    def my_gpu_function(data):
        return data * 2

    return my_gpu_function(np.array([1, 2, 3]))


@case(array("torch", "float32", [1, 2, 3]), needs="torch")
def a_torch_function_of_a_tensor():
    import torch
    from arraybridge import torch as torch_memory

    @torch_memory
    def plus_one(image):
        return image + 1

    return plus_one(torch.arange(3, dtype=torch.float32))


@case(array("jax", "float32", [1, 2, 3]), needs="jax")
def a_jax_function_of_an_array():
    import jax.numpy as jnp
    from arraybridge import jax as jax_memory

    @jax_memory(oom_recovery=False)
    def plus_one(image):
        return image + 1

    return plus_one(jnp.arange(3, dtype=jnp.float32))


@case(["numpy", "torch", array("torch", "float32", RAMP)], needs="torch", differs=CONVERTS)
def memory_types_alone():
    from arraybridge import memory_types

    @memory_types(input_type="numpy", output_type="torch")
    def identity(image):
        return image

    return identity.input_memory_type, identity.output_memory_type, identity(ramp())


@case(array("numpy", "float32", RAMP))
def a_contract_that_holds():
    from arraybridge import numpy as numpy_memory

    @numpy_memory(contract=lambda result: result.ndim == 2)
    def identity(image):
        return image

    return identity(ramp())


@case([True, True])
def a_contract_that_is_broken():
    from arraybridge import memory_types

    @memory_types("numpy", "numpy", contract=lambda result: result.ndim == 3)
    def identity(image):
        return image

    try:
        identity(ramp())
    except ValueError as error:
        return "violated its output contract" in str(error), "identity" in str(error)
    return None


@case(array("numpy", "float32", [[[0, 1], [0, 1]], [[0, 1], [0, 1]]]))
def slice_by_slice():
    from arraybridge import numpy as numpy_memory

    @numpy_memory
    def stretch(image):
        assert image.ndim == 2
        return (image - image.min()) / (image.max() - image.min())

    stack = np.array([[[0, 2], [0, 2]], [[5, 9], [5, 9]]], dtype=np.float32)
    return stretch(stack, slice_by_slice=True)


@case([array("numpy", "float32", [[[1, 1]], [[2, 2]]]), [2.0, 4.0]])
def slice_by_slice_with_measurements():
    from arraybridge import numpy as numpy_memory

    @numpy_memory
    def measure(image):
        return image, float(image.sum())

    stack = np.array([[[1, 1]], [[2, 2]]], dtype=np.float32)
    image, sums = measure(stack, slice_by_slice=True)
    return image, list(sums)


@case(array("numpy", "float64", [[0, 25], [50, 100]]))
def native_output():
    from arraybridge import DtypeConversion
    from arraybridge import numpy as numpy_memory

    @numpy_memory
    def half(image):
        return image / 2

    return half(IMAGE, dtype_conversion=DtypeConversion.NATIVE_OUTPUT)


@case(array("numpy", "float32", [[0, 25], [50, 100]]))
def a_fixed_float_output():
    from arraybridge import DtypeConversion
    from arraybridge import numpy as numpy_memory

    @numpy_memory
    def half(image):
        return image / 2

    return half(IMAGE, dtype_conversion=DtypeConversion.FLOAT32)


@case(array("numpy", "uint8", [[0, 25], [50, 100]]), differs=STRETCH)
def the_input_dtype_is_kept():
    from arraybridge import numpy as numpy_memory

    @numpy_memory
    def half(image):
        return image / 2

    return half(IMAGE)


@case(array("numpy", "uint16", [[0, 50], [100, 200]]))
def an_integer_output_wide_enough():
    from arraybridge import DtypeConversion
    from arraybridge import numpy as numpy_memory

    @numpy_memory
    def identity(image):
        return image

    return identity(IMAGE, dtype_conversion=DtypeConversion.UINT16)


@case(array("numpy", "float64", [[0, 25], [50, 100]]), differs=FAILED)
def a_config_object():
    """As pipelines of 0.2.10 and later pass it."""
    from arraybridge import DtypeConversion
    from arraybridge import numpy as numpy_memory

    class Config:
        default_dtype_conversion = DtypeConversion.NATIVE_OUTPUT

    @numpy_memory
    def half(image):
        return image / 2

    return half(IMAGE, dtype_config=Config())


@case(["image", "sigma", "slice_by_slice"])
def the_signature_has_slice_by_slice():
    import inspect

    from arraybridge import numpy as numpy_memory

    @numpy_memory
    def blur(image, sigma=1.0):
        return image

    return list(inspect.signature(blur).parameters)[:3]


@case(["preserve", "uint8", None, "float32"])
def values_of_dtype_conversion():
    from arraybridge.decorators import DtypeConversion

    return (
        DtypeConversion.PRESERVE_INPUT.value, DtypeConversion.UINT8.numpy_dtype.__name__,
        DtypeConversion.NATIVE_OUTPUT.numpy_dtype, DtypeConversion.FLOAT32.numpy_dtype.__name__,
    )  # fmt: skip


@case(raises("ZeroDivisionError"))
def an_exception_of_the_function_passes():
    from arraybridge import numpy as numpy_memory

    @numpy_memory
    def broken(image):
        return 1 / 0

    return broken(ramp())


@case([True, True])
def a_context_for_each_thread():
    from arraybridge.decorators import ThreadGPUContext, _get_thread_gpu_context

    context = _get_thread_gpu_context()
    return isinstance(context, ThreadGPUContext), context is _get_thread_gpu_context()


# ---------------------------------------------------------------- stacks


@case(array("numpy", "float32", [[[0, 0]], [[1, 1]], [[2, 2]]]))
def stacks_numpy_slices():
    from arraybridge import stack_slices

    return stack_slices([np.full((1, 2), z, dtype=np.float32) for z in range(3)], memory_type="numpy", gpu_id=0)


@case([[50, 10, 10], 50, [10, 10]], needs="torch", differs=NO_GPU)
def stack_utilities():
    """The documentation's example."""
    from arraybridge import stack_slices, unstack_slices

    slices_2d = [np.random.rand(10, 10) for _ in range(50)]
    volume_3d = stack_slices(slices_2d, memory_type="torch", gpu_id=0)
    slices_back = unstack_slices(volume_3d, memory_type="torch", gpu_id=0)
    return list(volume_3d.shape), len(slices_back), list(slices_back[0].shape)


@case(raises("ValueError"))
def no_slices_to_stack():
    from arraybridge import stack_slices

    return stack_slices([], "numpy", 0)


@case(raises("ValueError"))
def slices_of_three_axes():
    from arraybridge import stack_slices

    return stack_slices([np.zeros((2, 2, 2))], "numpy", 0)


@case([array("numpy", "int64", [[0, 1]]), array("numpy", "int64", [[2, 3]])])
def unstacks():
    from arraybridge.stack_utils import unstack_slices

    return unstack_slices(np.arange(4).reshape(2, 1, 2), "numpy", 0, validate_slices=True)


@case(raises("ValueError"))
def a_plane_is_no_stack():
    from arraybridge import unstack_slices

    return unstack_slices(np.zeros((2, 2)), "numpy", 0)


@case(array("numpy", "float32", [[[3, 3]], [[5, 5]]]))
def processes_slices():
    from arraybridge import process_slices

    def scaled(image, factor, offset=0):
        return image * factor + offset

    stack = np.array([[[1, 1]], [[2, 2]]], dtype=np.float32)
    return process_slices(stack, scaled, (2,), {"offset": 1})


@case([array("numpy", "float32", [[[1, 1]], [[2, 2]]]), ["a", "a"], [1.0, 2.0]])
def processes_slices_with_more_results():
    from arraybridge.slice_processing import process_slices

    stack = np.array([[[1, 1]], [[2, 2]]], dtype=np.float32)
    image, names, maxima = process_slices(stack, lambda image: (image, "a", float(image.max())), (), {})
    return image, names, maxima


# ---------------------------------------------------------------- scaling


@case(array("numpy", "uint8", [0, 127, 255]))
def scales_to_bytes():
    from arraybridge import SCALING_FUNCTIONS

    return SCALING_FUNCTIONS["numpy"](np.array([0, 0.5, 1], dtype=np.float32), np.uint8)


@case(array("numpy", "uint16", [0, 32767, 65535]))
def scales_to_sixteen_bits():
    from arraybridge.dtype_scaling import SCALING_FUNCTIONS

    return SCALING_FUNCTIONS["numpy"](np.array([10, 15, 20], dtype=np.float64), np.uint16)


@case(array("numpy", "uint8", [7, 7]))
def scales_a_constant():
    from arraybridge import SCALING_FUNCTIONS

    return SCALING_FUNCTIONS["numpy"](np.array([7, 7], dtype=np.float32), np.uint8)


@case(array("torch", "uint8", [0, 127, 255]), needs="torch")
def scales_a_tensor():
    import torch
    from arraybridge import SCALING_FUNCTIONS

    return SCALING_FUNCTIONS["torch"](torch.tensor([0, 0.5, 1]), np.uint8)


@case(array("numpy", "int16", [-32768, 32767]), differs="The whole range")
def scales_to_signed_integers():
    from arraybridge import SCALING_FUNCTIONS

    return SCALING_FUNCTIONS["numpy"](np.array([0, 1], dtype=np.float32), np.int16)


# ---------------------------------------------------------------- errors and memory


@case(["torch", "cupy", "dlpack", "no GPU", True])
def the_error_has_attributes():
    from arraybridge import MemoryConversionError

    error = MemoryConversionError(source_type="torch", target_type="cupy", method="dlpack", reason="no GPU")
    return error.source_type, error.target_type, error.method, error.reason, "no GPU" in str(error)


@case([3, "RuntimeError"], needs="torch")
def three_calls_at_most():
    import torch  # noqa: F401
    from arraybridge import _execute_with_oom_recovery

    calls = []

    def fails():
        calls.append(1)
        raise RuntimeError("CUDA error: out of memory")

    try:
        _execute_with_oom_recovery(fails, "torch", max_retries=2)
    except RuntimeError as error:
        return len(calls), type(error).__name__
    return None


@case([2, "done"], needs="torch")
def the_second_call_succeeds():
    import torch  # noqa: F401
    from arraybridge.oom_recovery import _execute_with_oom_recovery

    calls = []

    def fails_once():
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("CUDA error: out of memory")
        return "done"

    return [_execute_with_oom_recovery(func_callable=fails_once, memory_type="torch"), len(calls)][::-1]


@case([1, "KeyError"])
def other_errors_are_not_retried():
    from arraybridge import _execute_with_oom_recovery

    calls = []

    def fails():
        calls.append(1)
        raise KeyError("no such channel")

    try:
        _execute_with_oom_recovery(fails, "numpy")
    except KeyError as error:
        return len(calls), type(error).__name__
    return None


@case([True, False], needs="torch")
def recognises_out_of_memory():
    import torch  # noqa: F401
    from arraybridge.oom_recovery import _is_oom_error

    return (
        _is_oom_error(RuntimeError("CUDA error: out of memory"), "torch"),
        _is_oom_error(ValueError("wrong shape"), "torch"),
    )


@case([None, None, None])
def cleans_up():
    from arraybridge import cleanup_all_gpu_frameworks
    from arraybridge.gpu_cleanup import cleanup_torch_gpu
    from arraybridge.oom_recovery import _clear_cache_for_memory_type

    return cleanup_all_gpu_frameworks(), cleanup_torch_gpu(device_id=None), _clear_cache_for_memory_type("numpy")


@case(["cupy", "jax", "numpy", "pyclesperanto", "tensorflow", "torch"])
def a_registry_of_cleanups():
    from arraybridge.gpu_cleanup import MEMORY_TYPE_CLEANUP_REGISTRY

    return sorted(name for name, clean in MEMORY_TYPE_CLEANUP_REGISTRY.items() if callable(clean))


# ---------------------------------------------------------------- what pipelines reach for


@case(["torch", "PyTorch", True, True])
def reads_the_framework_config():
    from arraybridge import _FRAMEWORK_CONFIG, _FRAMEWORK_OPS, MemoryType

    entry = _FRAMEWORK_CONFIG[MemoryType.TORCH]
    return entry["import_name"], entry["display_name"], entry["is_gpu"], MemoryType.JAX in _FRAMEWORK_OPS


@case(["numpy", True])
def ensures_a_module():
    from arraybridge import _ensure_module

    try:
        _ensure_module("no_such_module_anywhere")
    except ImportError as error:
        return _ensure_module("numpy").__name__, "no_such_module_anywhere" in str(error)
    return None


@case([True, False], needs="torch")
def supports_dlpack():
    import torch
    from arraybridge import _supports_dlpack

    return _supports_dlpack(torch.zeros(2)), _supports_dlpack([1, 2])


@case([False, "numpy"])
def imports_what_is_there():
    from arraybridge.utils import optional_import

    return bool(optional_import("no_such_module_anywhere")), optional_import("numpy").__name__


@case(True)
def annotates_with_a_module_that_is_missing():
    from arraybridge.utils import optional_import

    missing = optional_import("no_such_module_anywhere")

    def function(image: missing.ndarray) -> missing.ndarray:
        return image

    return function(1) == 1


@case([None, None], needs="torch")
def the_host_has_no_device_id():
    import torch
    from arraybridge import _get_device_id

    return _get_device_id(ramp(), "numpy"), _get_device_id(torch.zeros(2), "torch")


@case(True)
def moving_on_the_host_changes_nothing():
    from arraybridge.utils import _move_to_device

    data = ramp()
    return _move_to_device(data, "numpy", 0) is data


@case([array("numpy", "int64", [[[1]]]), "numpy", True])
def modules_as_attributes_of_the_package():
    import arraybridge

    return (
        arraybridge.stack_utils.stack_slices([np.array([[1]])], "numpy", 0),
        arraybridge.types.MemoryType.NUMPY.value,
        isinstance(arraybridge.exceptions.MemoryConversionError("a", "b", "c", "d"), arraybridge.MemoryConversionError),
    )


@case(["memory_types", "numpy", "torch"])
def imports_of_every_module():
    """One name of each module."""
    from arraybridge.converters import convert_memory, detect_memory_type  # noqa: F401
    from arraybridge.converters_registry import get_converter  # noqa: F401
    from arraybridge.decorators import cupy, jax, memory_types, numpy, pyclesperanto, tensorflow, torch  # noqa: F401
    from arraybridge.dtype_scaling import SCALING_FUNCTIONS  # noqa: F401
    from arraybridge.exceptions import MemoryConversionError  # noqa: F401
    from arraybridge.framework_config import _FRAMEWORK_CONFIG  # noqa: F401
    from arraybridge.framework_ops import _FRAMEWORK_OPS  # noqa: F401
    from arraybridge.gpu_cleanup import cleanup_all_gpu_frameworks  # noqa: F401
    from arraybridge.oom_recovery import _is_oom_error  # noqa: F401
    from arraybridge.slice_processing import process_slices  # noqa: F401
    from arraybridge.stack_utils import stack_slices  # noqa: F401
    from arraybridge.types import MemoryType  # noqa: F401
    from arraybridge.utils import _get_device_id, _set_device, _supports_dlpack  # noqa: F401

    return [each.__name__ for each in (memory_types, numpy, torch)]
