# SPDX-License-Identifier: MIT
"""Each framework as an object with methods: a facade of the package's functions and of the framework's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ClassVar, NoReturn

from arraybridge.calls import convert, convert_memory, describe, detect_memory_type

from .array_payload import ArrayPayload
from .arrays import Array
from .devices import HOST, AcceleratorDevice, Device, HostDevice, NamedDevice

__all__ = [
    "HOST",
    "AcceleratorDevice",
    "Array",
    "ArrayLibrary",
    "ArrayPayload",
    "Device",
    "HostDevice",
    "NamedDevice",
]

Axis = int | tuple[int, ...]
DType = object

_DISPLAY_NAMES = {
    "numpy": "NumPy", "cupy": "CuPy", "torch": "PyTorch", "tensorflow": "TensorFlow", "jax": "JAX",
    "pyclesperanto": "pyclesperanto",
}  # fmt: skip

#: Set before the first import of the framework, if unset: it would take the whole device otherwise.
_ENVIRONMENT = {
    "tensorflow": (("TF_FORCE_GPU_ALLOW_GROWTH", "true"),),
    "jax": (("XLA_PYTHON_CLIENT_PREALLOCATE", "false"),),
}

_NO_SUBCLASSES = (
    "ArrayLibrary is not for subclassing here: a framework is added with a plugin, which needs no Python "
    "(arraybridge new-plugin NAME starts one)"
)


# ---------------------------------------------------------------- the frameworks' own functions


def _dtype_name(dtype: Any) -> str:
    """``"float32"`` of a dtype of any framework, a scalar type or a name."""
    if isinstance(dtype, Array):
        raise TypeError("a dtype is needed, not an array: pass its dtype")
    name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None) or getattr(dtype, "__name__", None)
    is_torch = (type(dtype).__module__, type(dtype).__name__) == ("torch", "dtype")  # which have no name
    text = str(dtype).removeprefix("torch.") if is_torch else name
    if not isinstance(text, str):
        raise TypeError(f"a dtype or the name of one is needed, not {dtype!r}")
    return {"float": "float64", "int": "int64", "complex": "complex128"}.get(text, text)


class _ArrayApi:
    """NumPy, CuPy, JAX: NumPy's names."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def dtype(self, dtype: Any) -> Any:
        return _dtype_name(dtype)

    def reduce(self, name: str, data: Any, axis: Axis) -> Any:
        return getattr(self.module, name)(data, axis=axis)

    def mean(self, data: Any, axis: Axis) -> Any:
        return self.reduce("mean", data, axis)

    def cast(self, data: Any, dtype: Any) -> Any:
        return data.astype(self.dtype(dtype))

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.module, name)(*args, **kwargs)

    def ones(self, shape: Any, dtype: Any, like: Any = None) -> Any:
        return self.module.ones(shape, dtype=self.dtype(dtype))

    def linspace(self, start: float, stop: float, num: int, endpoint: bool) -> Any:
        return self.module.linspace(start, stop, num, endpoint=endpoint)

    def assign(self, data: Any, index: Any, values: Any) -> Any:
        data[index] = values
        return data


class _Jax(_ArrayApi):
    def mean(self, data: Any, axis: Axis) -> Any:
        return self.module.mean(data.astype("float32"), axis=axis)

    def assign(self, data: Any, index: Any, values: Any) -> Any:
        return data.at[index].set(values)


class _Torch(_ArrayApi):
    _NAMES: ClassVar[dict[str, str]] = {"max": "amax", "min": "amin"}

    def dtype(self, dtype: Any) -> Any:
        return getattr(self.module, _dtype_name(dtype))

    def reduce(self, name: str, data: Any, axis: Axis) -> Any:
        return getattr(self.module, self._NAMES.get(name, name))(data, dim=axis)

    def mean(self, data: Any, axis: Axis) -> Any:
        return self.module.mean(data.float(), dim=axis)

    def cast(self, data: Any, dtype: Any) -> Any:
        return data.to(self.dtype(dtype))

    def ones(self, shape: Any, dtype: Any, like: Any = None) -> Any:
        place = {} if like is None else {"device": like.device}
        return self.module.ones(shape, dtype=self.dtype(dtype), **place)

    def linspace(self, start: float, stop: float, num: int, endpoint: bool) -> Any:
        made = self.module.linspace(start, stop, num if endpoint else num + 1, dtype=self.module.float32)
        return made if endpoint else made[:-1]

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "floor":
            args = (self.module.tensor(args[0]),)
        return getattr(self.module, name)(*args, **kwargs)


class _TensorFlow(_ArrayApi):
    def reduce(self, name: str, data: Any, axis: Axis) -> Any:
        return getattr(self.module, f"reduce_{name}")(data, axis=axis)

    def mean(self, data: Any, axis: Axis) -> Any:
        return self.module.reduce_mean(self.module.cast(data, "float32"), axis=axis)

    def cast(self, data: Any, dtype: Any) -> Any:
        return self.module.cast(data, self.dtype(dtype))

    def linspace(self, start: float, stop: float, num: int, endpoint: bool) -> Any:
        made = self.module.linspace(float(start), float(stop), num if endpoint else num + 1)
        return made if endpoint else made[:-1]

    def assign(self, data: Any, index: Any, values: Any) -> Any:
        rows = self.module.range(data.shape[0])[index]
        values = self.module.broadcast_to(self.module.cast(values, data.dtype), (len(rows), *data.shape[1:]))
        return self.module.tensor_scatter_nd_update(data, rows[:, None], values)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "outer":
            return self.module.tensordot(*args, axes=0)
        if name == "floor":
            args = (float(args[0]),)
        return getattr(self.module, name)(*args, **kwargs)


class _Clesperanto(_ArrayApi):
    _PROJECTIONS: ClassVar[dict[str, str]] = {"max": "maximum", "min": "minimum", "mean": "mean", "sum": "sum"}

    def reduce(self, name: str, data: Any, axis: Axis) -> Any:
        if axis != 0:
            raise NotImplementedError(f"pyclesperanto reduces along the first axis only, not {axis!r}")
        return getattr(self.module, f"{self._PROJECTIONS[name]}_z_projection")(data)

    def cast(self, data: Any, dtype: Any) -> Any:
        return convert(data, "pyclesperanto", dtype=_dtype_name(dtype), casting="unsafe")

    def ones(self, shape: Any, dtype: Any, like: Any = None) -> Any:
        import numpy

        return convert(numpy.ones(shape, _dtype_name(dtype)), "pyclesperanto")

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if name in ("reshape", "broadcast_to", "logical_and"):
            import numpy

            on_host = [convert(one, "numpy") if isinstance(one, Array) else one for one in args]
            result = numpy.ascontiguousarray(getattr(numpy, name)(*on_host))
            return convert(result.astype("uint8") if result.dtype == bool else result, "pyclesperanto")
        raise NotImplementedError(f"pyclesperanto has no {name}")

    def linspace(self, start: float, stop: float, num: int, endpoint: bool) -> Any:
        raise NotImplementedError("pyclesperanto has no linspace")


#: The module with the framework's functions, and who knows how they are called.
_FUNCTIONS: dict[str, tuple[str, type[_ArrayApi]]] = {
    "numpy": ("numpy", _ArrayApi), "cupy": ("cupy", _ArrayApi), "torch": ("torch", _Torch),
    "tensorflow": ("tensorflow", _TensorFlow), "jax": ("jax.numpy", _Jax),
    "pyclesperanto": ("pyclesperanto", _Clesperanto),
}  # fmt: skip


# ---------------------------------------------------------------- the facade


class ArrayLibrary:
    """One framework. ``ArrayLibrary.named("torch")``, ``.of(array)`` and ``.all()`` give them, always the same objects.

    Attributes
    ----------
    name, import_name, display_name : str
    """

    __slots__ = ("display_name", "import_name", "name")

    name: str
    import_name: str
    display_name: str

    _known: ClassVar[dict[str, ArrayLibrary]] = {}

    def __new__(cls, *args: object) -> ArrayLibrary:
        raise TypeError('there is one for each framework: ArrayLibrary.named("torch")')

    def __init_subclass__(cls, **kwargs: object) -> NoReturn:
        raise TypeError(_NO_SUBCLASSES)

    def __class_getitem__(cls, item: object) -> type[ArrayLibrary]:
        return cls

    def __repr__(self) -> str:
        return f"<ArrayLibrary {self.name}>"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Callable[[str], ArrayLibrary], tuple[str]]:
        return ArrayLibrary.named, (self.name,)

    # ------------------------------------------------------------ which one

    @classmethod
    def all(cls) -> tuple[ArrayLibrary, ...]:
        """The six that the older API knew."""
        return tuple(cls.named(name) for name in _FUNCTIONS)

    @classmethod
    def named(cls, name: Any) -> ArrayLibrary:
        """The framework of that name; ``ValueError`` names those there are."""
        name = getattr(name, "value", name)
        if name not in _FUNCTIONS:
            raise ValueError(f"{name!r} is no framework; there are {', '.join(sorted(_FUNCTIONS))}")
        if name not in cls._known:
            made = object.__new__(cls)
            made.name = made.import_name = name
            made.display_name = _DISPLAY_NAMES[name]
            cls._known.setdefault(name, made)
        return cls._known[name]

    @classmethod
    def of(cls, value: object) -> ArrayLibrary:
        """The framework that owns an array; ``ValueError`` if none does."""
        return cls.named(detect_memory_type(value))

    @classmethod
    def for_module_name(cls, module_name: str) -> ArrayLibrary:
        """The framework that a module belongs to."""
        top = module_name.partition(".")[0]
        return cls.named("jax" if top == "jaxlib" else top)

    # ------------------------------------------------------------ the module

    @property
    def import_environment(self) -> tuple[tuple[str, str], ...]:
        """What is set in the environment before the framework's first import, if unset."""
        return _ENVIRONMENT.get(self.name, ())

    def is_installed(self) -> bool:
        """Whether the framework can be imported, without doing so."""
        if self.loaded_module() is not None:
            return True
        try:
            return find_spec(self.import_name) is not None
        except (ImportError, ValueError):
            return False

    def loaded_module(self) -> ModuleType | None:
        """The framework's module if it has been imported."""
        return sys.modules.get(self.import_name)

    def prepare_import(self) -> None:
        """Set what the framework reads from the environment at its first import."""
        for name, value in self.import_environment:
            os.environ.setdefault(name, value)

    def import_module(self) -> ModuleType:
        """Import the framework."""
        self.prepare_import()
        if self.name == "pyclesperanto":
            from arraybridge.calls import prepare

            prepare()  # after TensorFlow its import would end the process
        return import_module(self.import_name)

    def import_if_installed(self) -> ModuleType | None:
        """Import the framework; None if it is not installed."""
        return self.import_module() if self.is_installed() else None

    @property
    def module(self) -> ModuleType:
        """The framework's module, imported now if it was not."""
        return self.loaded_module() or self.import_module()

    @property
    def array_module(self) -> ModuleType:
        """The module with the framework's array functions."""
        self.import_module()
        return import_module(_FUNCTIONS[self.name][0])

    @property
    def _functions(self) -> _ArrayApi:
        return _FUNCTIONS[self.name][1](self.array_module)

    def extend_child_environment(self, environment: dict[str, str]) -> dict[str, str]:
        """Add to ``environment`` what a child process needs."""
        for name, value in self.import_environment:
            environment.setdefault(name, value)
        return environment

    @classmethod
    def child_environment(cls, environment: Mapping[str, str] | None = None) -> dict[str, str]:
        """A copy of the environment, or of ``environment``, with what every framework needs."""
        made = dict(os.environ if environment is None else environment)
        for library in cls.all():
            library.extend_child_environment(made)
        return made

    # ------------------------------------------------------------ devices

    def _labels(self) -> list[str]:
        from arraybridge.inventory import list_devices

        return sorted(info.device for info in list_devices(self.name))

    def host_devices(self) -> tuple[HostDevice, ...]:
        """``(HOST,)``, or nothing for a framework without arrays on the host."""
        return () if self.name in ("cupy", "pyclesperanto") else (HOST,)

    def accelerator_devices(self) -> tuple[AcceleratorDevice, ...]:
        """The accelerators that the framework sees now."""
        if self.name == "numpy":
            return ()
        from arraybridge.errors import MemoryConversionError

        try:
            there = [label for label in self._labels() if not label.startswith("cpu")]
        except MemoryConversionError:  # no driver
            return ()
        return tuple(AcceleratorDevice(index) for index in range(len(there)))

    def available_devices(self) -> tuple[Device, ...]:
        """All of them."""
        return (*self.host_devices(), *self.accelerator_devices())

    def device_of(self, data: Any) -> Device:
        """Where an array is."""
        label = describe(data).device
        kind, _, number = label.partition(":")
        if kind == "cpu":
            return HOST
        return AcceleratorDevice(int(number)) if number.isdigit() else NamedDevice(label)

    def require_device(self, device: Device) -> None:
        """``ValueError`` if the framework has no such device."""
        there = self.available_devices()
        if device not in there:
            labels = ", ".join(one.label for one in there) or "none"
            raise ValueError(f"{self.display_name} has no device {device.label}; there are {labels}")

    def device_scope(self, device: Device) -> AbstractContextManager[object]:
        """A block in which the framework makes new arrays on ``device``."""
        self.require_device(device)
        return _scope_of(self, device)

    def activate_device(self, device: Device) -> None:
        """Make ``device`` the current one where the framework has such a setting."""
        self.require_device(device)
        if isinstance(device, AcceleratorDevice):
            from .utils import _set_device

            _set_device(self.name, device.index)

    def move_to_device(self, data: Any, device: Device) -> Any:
        """``data`` on ``device``, itself if it is there."""
        return convert_memory(data, self.name, self.name, device=device)

    # ------------------------------------------------------------ conversion

    def to_numpy(self, data: Any) -> Any:
        """Hand an array of this framework to NumPy."""
        return convert_memory(data, self.name, "numpy")

    def from_numpy(self, data: Any, device: Device = HOST) -> Any:
        """Take a NumPy array into this framework."""
        return convert_memory(data, "numpy", self.name, device=device)

    def convert_to(self, data: Any, target: ArrayLibrary, device: Device) -> Any:
        """Hand an array of this framework to another."""
        return convert_memory(data, self.name, target.name, device=device)

    def accepts(self, value: object) -> bool:
        """Whether ``value`` is an array of this framework."""
        try:
            return detect_memory_type(value) == self.name
        except ValueError:
            return False

    def nbytes_of(self, data: Any) -> int:
        """Size of the elements, in bytes."""
        known = describe(data)
        size = max(int("".join(filter(str.isdigit, known.dtype.partition("_")[0])) or 8) // 8, 1)
        for extent in known.shape:
            size *= extent
        return size

    @property
    def imports_dlpack(self) -> bool:
        """True: every framework does here, if need be with our help."""
        return True

    def exports_dlpack_data(self, data: Any) -> bool:
        """Whether the memory of an array can be shared."""
        return describe(data).shareable

    # ------------------------------------------------------------ out of memory

    def is_oom_error(self, error: BaseException) -> bool:
        """Whether ``error`` is out-of-memory, of this or another framework: one dies of the other's."""
        from arraybridge.recovery import is_out_of_memory

        return is_out_of_memory(error)

    def run_with_oom_recovery(self, func: Callable[[], Any], max_retries: int = 2, device: Device | None = None) -> Any:
        """Call ``func()``, after out-of-memory at most ``max_retries`` times more."""
        from arraybridge.recovery import run_with_recovery

        return run_with_recovery(func, max_retries=max_retries)

    def cleanup_loaded(self, device: Device | None = None) -> None:
        """Give cached memory back; all loaded frameworks do."""
        self.cleanup_all_loaded(device)

    @classmethod
    def cleanup_all_loaded(cls, device: Device | None = None) -> None:
        """Give cached memory back in every loaded framework."""
        from .gpu_cleanup import cleanup_all_gpu_frameworks

        cleanup_all_gpu_frameworks(device.index if isinstance(device, AcceleratorDevice) else None)

    def execution_wrapper(self, func: Callable[..., Any], oom_recovery: bool) -> Callable[..., Any]:
        """``func`` with recovery, and nothing else changed about it."""
        from arraybridge.decorators import memory_types

        wrapped: Callable[..., Any] = memory_types(self.name, self.name, convert=False, oom_recovery=oom_recovery)(func)
        return wrapped

    # ------------------------------------------------------------ array functions, in the framework itself

    def dtype_name(self, dtype: DType) -> str:
        """``"float32"``, however the framework spells it; ``TypeError`` for an array or what is no dtype."""
        return _dtype_name(dtype)

    def scale_dtype(self, data: Any, target_dtype: DType) -> Any:
        """As ``SCALING_FUNCTIONS``: real numbers are stretched to the full range of an integer dtype."""
        from arraybridge.scaling import SCALING_FUNCTIONS

        return SCALING_FUNCTIONS[self.name](data, target_dtype)

    def max(self, data: Any, axis: Axis) -> Any:
        """Largest values along ``axis``."""
        return self._functions.reduce("max", data, axis)

    def min(self, data: Any, axis: Axis) -> Any:
        """Smallest values along ``axis``."""
        return self._functions.reduce("min", data, axis)

    def sum(self, data: Any, axis: Axis) -> Any:
        """Sums along ``axis``."""
        return self._functions.reduce("sum", data, axis)

    def mean(self, data: Any, axis: Axis) -> Any:
        """Means along ``axis``; of torch, JAX and TensorFlow in float32."""
        return self._functions.mean(data, axis)

    def astype(self, data: Any, dtype: DType) -> Any:
        """``data`` with another dtype, in the framework's own manner."""
        return self._functions.cast(data, dtype)

    def reshape(self, data: Any, shape: Sequence[int]) -> Any:
        """The same elements in another shape."""
        return self._functions.call("reshape", data, tuple(shape))

    def broadcast_to(self, data: Any, shape: Sequence[int]) -> Any:
        """``data`` repeated to a shape."""
        return self._functions.call("broadcast_to", data, tuple(shape))

    def prepend_axis(self, data: Any) -> Any:
        """A first axis of length one."""
        return self.reshape(data, (1, *data.shape))

    def ones_like(self, reference: Any, *, shape: Sequence[int] | None = None, dtype: DType = bool) -> Any:
        """Ones on the device of ``reference``."""
        wanted = tuple(reference.shape if shape is None else shape)
        with _scope_of(self, self.device_of(reference)):
            return self._functions.ones(wanted, dtype, reference)

    def logical_and(self, left: Any, right: Any) -> Any:
        """``left and right``, element by element."""
        return self._functions.call("logical_and", left, right)

    def assign(self, data: Any, index: Any, values: Any) -> Any:
        """``data`` with ``data[index]`` replaced: itself, or a new array where arrays cannot be written."""
        return self._functions.assign(data, index, values)

    def stack_arrays(self, arrays: Sequence[Any], device: Device | None = None) -> Any:
        """Arrays of one shape along a new first axis."""
        from arraybridge.stacks import stack_slices

        return stack_slices(list(arrays), self.name, device=device, slice_ndim=None)

    def normalize_planes(self, data: Any, dtype: DType, scales: Sequence[float | None]) -> Any:
        """Each plane of a stack cast to ``dtype`` and divided by its scale."""
        if len(scales) != int(data.shape[0]):
            raise ValueError(f"{len(scales)} scales for {int(data.shape[0])} planes")
        planes = [self.astype(data[index], dtype) for index in range(len(scales))]
        return self.stack_arrays(
            [plane if scale is None else plane / float(scale) for plane, scale in zip(planes, scales, strict=True)],
            self.device_of(data),
        )

    def ones(self, shape: int | tuple[int, ...], dtype: DType) -> Any:
        """Ones on the default device."""
        return self._functions.ones(shape, dtype)

    def linspace(self, start: float, stop: float, num: int, *, endpoint: bool) -> Any:
        """``num`` numbers from ``start`` to ``stop`` at equal distances."""
        return self._functions.linspace(start, stop, num, endpoint)

    def outer(self, left: Any, right: Any) -> Any:
        """The outer product of two vectors."""
        return self._functions.call("outer", left, right)

    def floor(self, value: float) -> Any:
        """The floor of a number, as the framework's own array or scalar."""
        return self._functions.call("floor", value)


def _scope_of(library: ArrayLibrary, device: Device) -> AbstractContextManager[object]:
    """The framework's own way to say where new arrays go."""
    index = getattr(device, "index", None)
    if library.name == "cupy" and index is not None:
        scope: AbstractContextManager[object] = library.module.cuda.Device(index)
    elif library.name == "torch":
        scope = library.module.device("cpu" if index is None else f"cuda:{index}")
    elif library.name == "tensorflow":
        scope = library.module.device("/device:CPU:0" if index is None else f"/device:GPU:{index}")
    elif library.name == "jax":
        scope = library.module.default_device(library.module.devices("cpu" if index is None else "gpu")[index or 0])
    elif library.name == "pyclesperanto" and index is not None:
        scope = _selected(library, index)
    else:
        scope = nullcontext()
    return scope


@contextmanager
def _selected(library: ArrayLibrary, index: int) -> Iterator[None]:
    before = library.module.get_device()
    library.module.select_device(index)
    try:
        yield
    finally:
        library.module.select_device(str(getattr(before, "name", "")))
