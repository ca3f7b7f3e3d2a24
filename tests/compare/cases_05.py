"""Code in the form of arraybridge 0.5. The snippets run unchanged; what they expect is what this package gives."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from case import Cases, array, raises

case = Cases()
IMAGE = np.array([[0, 50], [100, 200]], dtype=np.uint8)
RAMP = [[0, 1, 2], [3, 4, 5]]
STRETCH = "Nothing is stretched"
CONVERTS = "Decorators convert"
MECHANISMS = "Names of mechanisms"


def ramp() -> np.ndarray:
    return np.arange(6, dtype=np.float32).reshape(2, 3)


# ---------------------------------------------------------------- converting


@case(True)
def quick_start():
    from arraybridge import HOST, convert_memory, detect_memory_type

    value = np.arange(6).reshape(2, 3)
    assert detect_memory_type(value) == "numpy"
    result = convert_memory(value, source_type="numpy", target_type="numpy", device=HOST)
    return result is value


@case(array("torch", "float32", RAMP), needs="torch")
def numpy_to_torch():
    from arraybridge import HOST, convert_memory

    return convert_memory(ramp(), "numpy", "torch", HOST)


@case(array("jax", "float32", RAMP), needs="jax")
def numpy_to_jax():
    from arraybridge import HOST, convert_memory

    return convert_memory(ramp(), "numpy", "jax", device=HOST)


@case(array("tensorflow", "float32", RAMP), needs="tensorflow")
def numpy_to_tensorflow():
    from arraybridge import HOST, convert_memory

    return convert_memory(ramp(), "numpy", "tensorflow", HOST)


@case(array("numpy", "float32", RAMP), needs="torch")
def torch_to_numpy_with_members():
    import torch
    from arraybridge import HOST, MemoryType, convert_memory

    data = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    return convert_memory(data, MemoryType.TORCH, MemoryType.NUMPY, HOST)


@case(array("torch", "float32", RAMP), needs="torch jax")
def jax_to_torch():
    import jax.numpy as jnp
    from arraybridge import HOST, convert_memory

    return convert_memory(jnp.asarray(ramp()), "jax", "torch", HOST)


@case([True, True], needs="torch")
def an_accelerator_that_is_not_there():
    import torch
    from arraybridge import AcceleratorDevice, MemoryConversionError, convert_memory

    if torch.cuda.is_available():
        return True, True
    try:
        convert_memory(ramp(), "numpy", "torch", AcceleratorDevice(0))
    except MemoryConversionError as error:
        return error.source_type != "" or error.target_type == "torch", "accelerator:0" in str(error)
    return None


@case(raises("ValueError"))
def an_unknown_library_is_a_value_error():
    from arraybridge import HOST, convert_memory

    try:
        convert_memory(ramp(), "numpy", "nonsense", HOST)
    except ValueError as error:
        raise ValueError from error


# ---------------------------------------------------------------- devices


@case(["host", "accelerator:1", "device:pthread-cpu"])
def labels_of_devices():
    from arraybridge import HOST, AcceleratorDevice, NamedDevice

    return HOST.label, AcceleratorDevice(1).label, NamedDevice("pthread-cpu").label


@case([True, True, True, 3])
def devices_are_values():
    from arraybridge.devices import HOST, AcceleratorDevice, HostDevice, NamedDevice

    return (
        HostDevice() == HOST, AcceleratorDevice(0) == AcceleratorDevice(index=0),
        AcceleratorDevice(0) != AcceleratorDevice(1),
        len({HOST, HostDevice(), AcceleratorDevice(0), AcceleratorDevice(0), NamedDevice("a")}),
    )  # fmt: skip


@case([True, "AcceleratorDevice(index=2)"])
def devices_pickle():
    from arraybridge import HOST, AcceleratorDevice, NamedDevice

    devices = (HOST, AcceleratorDevice(2), NamedDevice("a"))
    return pickle.loads(pickle.dumps(devices)) == devices, repr(AcceleratorDevice(2))


@case(True)
def devices_are_frozen():
    from arraybridge import AcceleratorDevice

    device = AcceleratorDevice(0)
    try:
        device.index = 1
    except AttributeError:
        return device.index == 0
    return False


@case(["the host", "accelerator 3"])
def devices_match():
    from arraybridge import HOST, AcceleratorDevice, HostDevice

    def name(device):
        match device:
            case HostDevice():
                return "the host"
            case AcceleratorDevice(index):
                return f"accelerator {index}"

    return name(HOST), name(AcceleratorDevice(3))


# ---------------------------------------------------------------- libraries


@case([[True, True], True, True])
def numpy_has_the_host():
    from arraybridge import HOST, AcceleratorDevice, ArrayLibrary

    library = ArrayLibrary.named("numpy")
    return (
        [library.host_devices() == (HOST,), library.available_devices() == (HOST,)],
        library.device_of(np.zeros(3)) == HOST and library.accelerator_devices() == (),
        AcceleratorDevice(0).label == "accelerator:0",
    )


@case(["numpy", "cupy", "torch", "tensorflow", "jax", "pyclesperanto"])
def all_libraries():
    from arraybridge import ArrayLibrary

    return [library.name for library in ArrayLibrary.all()]


@case(["torch", "PyTorch", "torch", True])
def a_library_by_name():
    from arraybridge import ArrayLibrary, MemoryType

    library = ArrayLibrary.named("torch")
    return str(library), library.display_name, library.import_name, MemoryType.TORCH.library is library


@case(["numpy", "torch"], needs="torch")
def a_library_by_array():
    import torch
    from arraybridge import ArrayLibrary

    return ArrayLibrary.of(np.zeros(2)).name, ArrayLibrary.of(torch.zeros(2)).name


@case(raises("ValueError"))
def no_library_of_that_name():
    from arraybridge import ArrayLibrary

    return ArrayLibrary.named("nonsense")


@case(True)
def libraries_pickle():
    from arraybridge import ArrayLibrary

    library = ArrayLibrary.named("jax")
    return pickle.loads(pickle.dumps(library)) is library


@case([True, True])
def what_is_installed():
    from arraybridge import ArrayLibrary

    library = ArrayLibrary.named("numpy")
    return library.is_installed(), library.loaded_module() is np


@case([[1, 8, 8], "numpy"])
def max_projection():
    """The documentation's example."""
    from arraybridge import ArrayLibrary

    def max_projection(stack):
        library = ArrayLibrary.of(stack)
        return library.prepend_axis(library.max(stack, 0))

    return list(max_projection(np.ones((4, 8, 8))).shape), ArrayLibrary.of(np.ones(2)).name


@case([array("torch", "float32", [3, 4, 5]), array("torch", "float32", [1.5, 2.5, 3.5])], needs="torch")
def reductions_of_a_tensor():
    import torch
    from arraybridge import ArrayLibrary

    data = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    library = ArrayLibrary.of(data)
    return library.max(data, 0), library.mean(data, 0)


@case([array("jax", "float32", [0, 3]), array("jax", "float32", [3, 12])], needs="jax")
def reductions_of_a_jax_array():
    import jax.numpy as jnp
    from arraybridge import ArrayLibrary

    data = jnp.asarray(ramp())
    library = ArrayLibrary.of(data)
    return library.min(data, 1), library.sum(data, 1)


@case([array("tensorflow", "float32", [3, 4, 5]), array("tensorflow", "float32", [1, 4])], needs="tensorflow")
def reductions_of_a_tensorflow_tensor():
    import tensorflow as tf
    from arraybridge import ArrayLibrary

    data = tf.constant(ramp())
    library = ArrayLibrary.of(data)
    return library.max(data, 0), library.mean(data, 1)


@case([array("numpy", "uint16", [[0, 50], [100, 200]]), array("numpy", "uint8", [[0, 50, 100, 200]])])
def casts_and_reshapes():
    from arraybridge import ArrayLibrary

    library = ArrayLibrary.named("numpy")
    return library.astype(IMAGE, np.uint16), library.reshape(IMAGE, (1, 4))


@case([array("torch", "int32", RAMP), "int32"], needs="torch")
def casts_a_tensor():
    import torch
    from arraybridge import ArrayLibrary

    library = ArrayLibrary.named("torch")
    made = library.astype(torch.arange(6.0).reshape(2, 3), np.int32)
    return made, library.dtype_name(made.dtype)


@case([array("numpy", "float32", [[[0, 1, 2], [3, 4, 5]], [[0, 1, 2], [3, 4, 5]]])])
def stacks_arrays():
    from arraybridge import HOST, ArrayLibrary

    return [ArrayLibrary.named("numpy").stack_arrays([ramp(), ramp()], HOST)]


@case(array("numpy", "uint8", [0, 127, 255]))
def scales_a_dtype():
    from arraybridge import ArrayLibrary

    return ArrayLibrary.named("numpy").scale_dtype(np.array([0, 0.5, 1], dtype=np.float32), np.uint8)


@case(array("jax", "float32", [[9, 9, 9], [3, 4, 5]]), needs="jax")
def assigns_to_a_jax_array():
    import jax.numpy as jnp
    from arraybridge import ArrayLibrary

    library = ArrayLibrary.named("jax")
    return library.assign(jnp.asarray(ramp()), slice(0, 1), jnp.full((1, 3), 9.0))


@case([array("numpy", "bool", [[True, True]]), array("numpy", "float32", [[1, 1], [1, 1]])])
def makes_ones():
    from arraybridge import ArrayLibrary

    library = ArrayLibrary.named("numpy")
    return library.ones_like(np.zeros((1, 2))), library.ones((2, 2), np.float32)


@case(array("numpy", "float32", [[[1, 1]], [[2, 2]]]))
def normalizes_planes():
    from arraybridge import ArrayLibrary

    stack = np.array([[[2, 2]], [[2, 2]]], dtype=np.uint8)
    return ArrayLibrary.named("numpy").normalize_planes(stack, np.float32, (2.0, None))


@case([array("numpy", "float64", [0, 0.5, 1]), array("numpy", "int64", [[2, 4], [3, 6]]), 2.0])
def makes_arrays():
    from arraybridge import ArrayLibrary

    library = ArrayLibrary.named("numpy")
    outer = library.outer(np.array([2, 3]), np.array([1, 2]))
    return library.linspace(0, 1, 3, endpoint=True), outer, library.floor(2.7)


@case([array("numpy", "float32", RAMP), array("torch", "float32", RAMP)], needs="torch")
def to_numpy_and_back():
    import torch
    from arraybridge import HOST, ArrayLibrary

    library = ArrayLibrary.named("torch")
    data = library.to_numpy(torch.arange(6.0).reshape(2, 3))
    return data, library.from_numpy(data, HOST)


@case([array("jax", "float32", RAMP), True], needs="torch jax")
def converts_and_moves():
    import torch
    from arraybridge import HOST, ArrayLibrary

    library = ArrayLibrary.named("torch")
    data = torch.arange(6.0).reshape(2, 3)
    return library.convert_to(data, ArrayLibrary.named("jax"), HOST), library.move_to_device(data, HOST) is data


@case(True)
def a_device_that_is_not_there():
    from arraybridge import AcceleratorDevice, ArrayLibrary

    try:
        ArrayLibrary.named("numpy").require_device(AcceleratorDevice(0))
    except ValueError as error:
        return "accelerator:0" in str(error)
    return False


@case([3, "RuntimeError"], needs="torch")
def runs_with_recovery():
    import torch  # noqa: F401
    from arraybridge import ArrayLibrary

    calls = []

    def fails():
        calls.append(1)
        raise RuntimeError("CUDA error: out of memory")

    try:
        ArrayLibrary.named("torch").run_with_oom_recovery(fails, max_retries=2)
    except RuntimeError as error:
        return len(calls), type(error).__name__
    return None


@case([None, False])
def cleans_up_all():
    from arraybridge import ArrayLibrary

    return ArrayLibrary.cleanup_all_loaded(), ArrayLibrary.named("numpy").is_oom_error(ValueError("wrong shape"))


@case(["true", "false", "here"])
def an_environment_for_children():
    from arraybridge import ArrayLibrary

    made = ArrayLibrary.child_environment({"MINE": "here"})
    return made["TF_FORCE_GPU_ALLOW_GROWTH"], made["XLA_PYTHON_CLIENT_PREALLOCATE"], made["MINE"]


# ---------------------------------------------------------------- routes, records, observers


@case(["dlpack", "host copy", "device move", "stays in place"])
def planned_routes():
    """The documentation's example."""
    from arraybridge import HOST, AcceleratorDevice, ArrayLibrary, ConversionRoute

    torch = ArrayLibrary.named("torch")
    cupy = ArrayLibrary.named("cupy")
    gpu = AcceleratorDevice(0)
    return [
        ConversionRoute.planned(torch, gpu, cupy, gpu).mechanism,
        ConversionRoute.planned(torch, HOST, cupy, gpu).mechanism,
        ConversionRoute.planned(torch, HOST, torch, gpu).mechanism,
        ConversionRoute.planned(torch, gpu, torch, gpu).mechanism,
    ]


@case([["numpy", "tensorflow"], "pivot+exchange", 1, 64, True], needs="tensorflow", differs=MECHANISMS)
def counts_conversions():
    """The documentation's example."""
    from arraybridge import HOST, ConversionCounters, convert_memory

    data = np.zeros(17, dtype=np.float32)[1:].reshape(4, 4)
    counters = ConversionCounters()
    with counters.installed():
        convert_memory(data, "numpy", "tensorflow", HOST)
    row = counters.rows()[0]
    libraries = [row["source_library"], row["target_library"]]
    return libraries, row["mechanism"], row["count"], row["nbytes"], "tensorflow" in counters.format_table()


@case([2, 48, True], needs="torch")
def counters_merge_and_travel():
    from arraybridge import HOST, ConversionCounters, convert_memory

    first, second = ConversionCounters(), ConversionCounters()
    for counters in (first, second):
        with counters.installed():
            convert_memory(ramp(), "numpy", "torch", HOST)
    first.merge(ConversionCounters.from_json(second.to_json()))
    row = first.rows()[0]
    return row["count"], row["nbytes"], pickle.loads(pickle.dumps(first)).rows() == first.rows()


@case([0, 0])
def what_stays_in_place_is_not_counted():
    from arraybridge import HOST, ConversionCounters, convert_memory

    counters = ConversionCounters()
    with counters.installed():
        convert_memory(ramp(), "numpy", "numpy", HOST)
    return len(counters.rows()), len(counters.totals)


@case([["numpy", "torch", 24], True], needs="torch")
def an_observer_of_ones_own():
    from arraybridge import HOST, ConversionObserver, convert_memory

    class Log(ConversionObserver):
        def __init__(self):
            self.records = []

        def record(self, record):
            self.records.append(record)

    log = Log()
    before = ConversionObserver.current
    with log.installed():
        convert_memory(ramp(), "numpy", "torch", HOST)
    convert_memory(ramp(), "numpy", "torch", HOST)
    (record,) = log.records
    return [record.source_library, record.target_library, record.nbytes], ConversionObserver.current is before


@case([True, True, 1], needs="torch")
def installs_an_observer():
    from arraybridge import HOST, ConversionCounters, ConversionObserver, convert_memory

    counters = ConversionCounters()
    before = counters.install()
    convert_memory(ramp(), "numpy", "torch", HOST)
    is_current = ConversionObserver.current is counters
    ConversionObserver.current = before
    convert_memory(ramp(), "numpy", "torch", HOST)
    return is_current, ConversionObserver.current is before, counters.rows()[0]["count"]


@case([0, 1], needs="torch")
def other_threads_are_not_observed():
    import threading

    from arraybridge import HOST, ConversionCounters, convert_memory

    counters = ConversionCounters()

    def work():
        convert_memory(ramp(), "numpy", "torch", HOST)

    with counters.installed():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        before = len(counters.rows())
        work()
    return before, len(counters.rows())


@case(["torch", 24, 0.5, ["dlpack"], True])
def a_record_as_json():
    from arraybridge import ConversionRecord

    record = ConversionRecord(
        source_library="numpy", source_device="host", target_library="torch", target_device="host",
        mechanism="host copy", nbytes=24, seconds=0.5, declined_mechanisms=("dlpack",),
    )  # fmt: skip
    row = record.to_json()
    return (
        row["target_library"], row["nbytes"], row["seconds"], row["declined_mechanisms"],
        ConversionRecord.from_json(row) == record,
    )  # fmt: skip


# ---------------------------------------------------------------- decorators


@case(["numpy", "numpy", "numpy", array("numpy", "float32", [[0, 0.25], [0.5, 1]])])
def normalizes():
    """The documentation's example, of a float image."""
    from arraybridge import numpy

    @numpy
    def normalize(image):
        return image / max(float(image.max()), 1.0)

    result = normalize(IMAGE.astype(np.float32))
    return normalize.input_memory_type, normalize.output_memory_type, normalize.execution_memory_type, result


@case(raises("MemoryConversionError"), differs="Probabilities of an integer image")
def normalizes_an_integer_image():
    """The documentation's example as it stands there, of an integer image."""
    from arraybridge import numpy

    @numpy
    def normalize(image):
        return image / max(float(image.max()), 1.0)

    return normalize(IMAGE)


@case(array("numpy", "float32", [[[0, 1]], [[0, 1]]]))
def slices_by_default():
    from arraybridge import numpy

    @numpy(slice_by_slice_default=True)
    def stretch(image):
        return (image - image.min()) / (image.max() - image.min())

    return stretch(np.array([[[0, 2]], [[5, 9]]], dtype=np.float32))


@case([array("numpy", "float64", [[0, 25], [50, 100]]), array("numpy", "float32", [[0, 25], [50, 100]])])
def a_config_by_default_and_by_call():
    from arraybridge import DtypeConversion, numpy
    from arraybridge.decorators import DtypeConversionConfig

    class Config(DtypeConversionConfig):
        def __init__(self, conversion):
            self._conversion = conversion

        @property
        def default_dtype_conversion(self):
            return self._conversion

    @numpy(dtype_config_default=Config(DtypeConversion.NATIVE_OUTPUT))
    def half(image):
        return image / 2

    return half(IMAGE), half(IMAGE, dtype_config=Config(DtypeConversion.FLOAT32))


@case(array("numpy", "uint8", [[0, 25], [50, 100]]), differs=STRETCH)
def the_input_dtype_is_kept():
    from arraybridge import numpy

    @numpy
    def half(image):
        return image / 2

    return half(IMAGE)


@case(["slice_by_slice", "dtype_config", True])
def the_signature_has_the_controls():
    import inspect

    from arraybridge import numpy

    @numpy
    def blur(image, sigma=1.0):
        return image

    names = list(inspect.signature(blur).parameters)
    return names[2], names[-1], "sigma" in names


@case([array("numpy", "uint8", [[0, 100], [200, 144]]), ["slice_by_slice", "dtype_config"]])
def wraps_a_callable():
    import inspect

    from arraybridge import MemoryType, wrap_dtype_preserving_callable

    def double(image):
        return image * 2

    double.input_memory_type = double.output_memory_type = "numpy"
    wrapped = wrap_dtype_preserving_callable(double, MemoryType.NUMPY)
    names = list(inspect.signature(wrapped).parameters)
    return wrapped(IMAGE), [name for name in names if name in ("slice_by_slice", "dtype_config")]


@case(["PURE", "pure"])
def a_declarative_contract():
    from enum import Enum

    from arraybridge import numpy

    class Contract(Enum):
        PURE = "pure"

    @numpy(contract=Contract.PURE)
    def identity(image):
        return image

    return identity.__processing_contract__.name, identity.__processing_contract__.value


@case(raises("ValueError"))
def a_contract_that_is_broken():
    from arraybridge import numpy

    @numpy(contract=lambda result: False)
    def identity(image):
        return image

    return identity(ramp())


@case(["numpy", None, "host", "torch", "torch"])
def reads_and_writes_attributes():
    from arraybridge import MemoryContractAttribute, numpy

    @numpy
    def identity(image):
        return image

    table: dict[str, Any] = {}
    MemoryContractAttribute.OUTPUT.write(table, "torch")
    MemoryContractAttribute.INPUT.write(identity, "torch")
    return (
        MemoryContractAttribute.EXECUTION.read(identity), MemoryContractAttribute.INPUT.read(object()),
        MemoryContractAttribute.INPUT.read({}, "host"), table["output_memory_type"], identity.input_memory_type,
    )  # fmt: skip


@case(["slice_by_slice", False, True, "dtype_config", "preserve"])
def declarations_of_keywords():
    from arraybridge import SliceBySliceRuntimeParameter
    from arraybridge.decorators import PRESERVE_INPUT_DTYPE_CONFIG, DtypeConversionConfig

    return (
        SliceBySliceRuntimeParameter.require_parameter_name(), SliceBySliceRuntimeParameter.parameter().default,
        SliceBySliceRuntimeParameter.parameter(default_value=True).default,
        DtypeConversionConfig.parameter().name, PRESERVE_INPUT_DTYPE_CONFIG.default_dtype_conversion.value,
    )  # fmt: skip


# ---------------------------------------------------------------- payloads, geometry, stacks


@case([array("numpy", "float32", [[0, 2, 4], [6, 8, 10]]), "well A1", True])
def maps_a_payload():
    from arraybridge import ArrayPayload

    class Well(ArrayPayload):
        def __init__(self, data, name):
            self.data, self.name = data, name

        def array_payload_data(self):
            return self.data

        def with_data(self, data):
            return Well(data, self.name)

    well = Well(ramp(), "well A1")
    double = well.map_array_payload(lambda data: data * 2)
    return double.data, double.name, well.map_array_payload(lambda data: data) is well


@case([[2, 3], 2, None, True])
def geometry_of_an_array():
    from arraybridge import ArrayGeometry

    class NoShape:
        shape = "wide"

    geometry = ArrayGeometry.from_value(ramp())
    return geometry.shape, geometry.ndim, ArrayGeometry.from_value(NoShape()), geometry == ArrayGeometry((2, 3))


@case(raises("TypeError"))
def a_geometry_that_is_needed():
    from arraybridge import ArrayGeometry

    class NoShape:
        shape = "wide"

    return ArrayGeometry.require_from_value(NoShape(), value_name="image")


@case([[2, 8, 8], 2])
def stack_utilities():
    """The documentation's example."""
    from arraybridge import HOST, stack_slices, unstack_slices

    slices = [np.zeros((8, 8)), np.ones((8, 8))]
    stack = stack_slices(slices, memory_type="numpy", device=HOST)
    restored = unstack_slices(stack, memory_type="numpy", device=HOST)
    return list(stack.shape), len(restored)


@case([array("torch", "float32", [[[0, 1, 2], [3, 4, 5]]]), 1], needs="torch")
def stacks_into_torch():
    from arraybridge import HOST, stack_slices, unstack_slices

    stack = stack_slices([ramp()], "torch", HOST)
    return stack, len(unstack_slices(stack, "numpy", HOST))


@case([array("numpy", "float32", [[[1, 1]], [[2, 2]]]), ["a", "a"]])
def processes_slices_on_a_device():
    from arraybridge import HOST
    from arraybridge.slice_processing import process_slices

    stack = np.array([[[1, 1]], [[2, 2]]], dtype=np.float32)
    image, names = process_slices(stack, lambda image, name: (image, name), ("a",), {}, device=HOST)
    return image, list(names)


@case(raises("TypeError"))
def slices_that_give_now_a_tuple_now_none():
    from arraybridge import process_slices

    def sometimes(image):
        return (image, 1) if image.max() > 1 else image

    return process_slices(np.array([[[1, 1]], [[2, 2]]]), sometimes, (), {})


@case(raises("ValueError"))
def slices_that_give_now_two_now_three():
    from arraybridge import process_slices

    def sometimes(image):
        return (image, 1) if image.max() > 1 else (image, 1, 2)

    return process_slices(np.array([[[1, 1]], [[2, 2]]]), sometimes, (), {})


@case(["ConversionRoute", "Device", "Array"])
def imports_of_every_module():
    """One name of each module."""
    from arraybridge.array_geometry import ArrayGeometry  # noqa: F401
    from arraybridge.array_payload import ArrayPayload  # noqa: F401
    from arraybridge.arrays import Array
    from arraybridge.conversion import ConversionCounters, ConversionObserver, ConversionRecord, ConversionRoute  # noqa: F401
    from arraybridge.converters import convert_memory  # noqa: F401
    from arraybridge.decorators import memory_types, wrap_dtype_preserving_callable  # noqa: F401
    from arraybridge.devices import HOST, Device  # noqa: F401
    from arraybridge.exceptions import MemoryConversionError  # noqa: F401
    from arraybridge.libraries import ArrayLibrary  # noqa: F401
    from arraybridge.slice_processing import process_slices  # noqa: F401
    from arraybridge.stack_utils import stack_slices  # noqa: F401
    from arraybridge.types import MemoryContractAttribute, MemoryType  # noqa: F401
    from arraybridge.utils import optional_import  # noqa: F401

    return ConversionRoute.__name__, Device.__name__, Array.__name__
