"""Code in the form of arraybridge 0.2 and 0.5 runs unchanged, and is right where the older releases are not."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import arraybridge as ab
import frameworks
import numpy as np
import pytest
from children import Children

ROOT = Path(__file__).parents[2]
COMPARE = ROOT / "tests" / "compare"
PAGE = ROOT / "docs" / "coming-from-0.2-0.5.md"
sys.path.insert(0, str(COMPARE))

import cases_02  # noqa: E402
import cases_05  # noqa: E402
import cases_wrong  # noqa: E402
from case import Case, result_of, same  # noqa: E402

SNIPPETS = [*cases_02.case.values(), *cases_05.case.values()]
MODULES = [
    "array_geometry", "array_payload", "arrays", "conversion", "converters", "converters_registry", "decorators",
    "devices", "dtype_scaling", "exceptions", "framework_config", "framework_ops", "gpu_cleanup", "libraries",
    "oom_recovery", "slice_processing", "stack_utils", "types", "utils",
]  # fmt: skip


def run_wrong(name: str) -> Any:
    """The result of a case that has killed older releases; called in a child."""
    return result_of(cases_wrong.case[name])


def check(case: Case, result: Any) -> None:
    """Compare; skip what this machine cannot do."""
    if isinstance(result, dict) and "missing" in result:
        pytest.skip(f"needs {', '.join(result['missing'])}")
    assert same(result, case.expect), result


@pytest.fixture(scope="module")
def children() -> Any:
    pool = Children(1)
    yield pool
    pool.close()


# ---------------------------------------------------------------- the snippets


def test_there_are_fifty_of_each() -> None:
    assert len(cases_02.case) >= 50
    assert len(cases_05.case) >= 50


@pytest.mark.parametrize("case", cases_02.case.values(), ids=lambda case: case.name)
def test_code_of_02_runs_unchanged(case: Case) -> None:
    check(case, result_of(case))


@pytest.mark.parametrize("case", cases_05.case.values(), ids=lambda case: case.name)
def test_code_of_05_runs_unchanged(case: Case) -> None:
    check(case, result_of(case))


@pytest.mark.parametrize("case", cases_wrong.case.values(), ids=lambda case: case.name)
def test_right_where_the_older_releases_are_wrong(case: Case, children: Children) -> None:
    check(case, children.run("test_compat", "run_wrong", case.name, timeout=120).check())


@pytest.mark.parametrize("case", [case for case in SNIPPETS if case.differs], ids=lambda case: case.name)
def test_every_difference_is_on_the_page(case: Case) -> None:
    assert f"## {case.differs}\n" in PAGE.read_text(), case.differs


def test_the_comparison_can_fail() -> None:
    assert not same({"raises": "KeyError"}, {"raises": "ValueError"})
    assert not same([1], [2])
    assert same({"raises": "ValueError", "text": "whatever"}, {"raises": "ValueError"})


# ---------------------------------------------------------------- importing


def run_fresh(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_imports_no_framework_and_nothing_large() -> None:
    loaded = run_fresh("import json, sys, arraybridge; print(json.dumps(sorted(sys.modules)))")
    large = {"numpy", "torch", "jax", "tensorflow", "cupy", "pyclesperanto", "dataclasses", "inspect", "enum", "typing"}
    before = run_fresh("import json, sys; print(json.dumps(sorted(sys.modules)))")
    assert not (large & set(loaded)) - set(before) - {"enum", "typing", "functools"}


def test_every_module_is_an_attribute_of_the_package() -> None:
    assert set(MODULES) == ab._MODULES
    found = run_fresh(
        f"import json, arraybridge; print(json.dumps([getattr(arraybridge, n).__name__ for n in {MODULES}]))"
    )
    assert found == [f"arraybridge.{name}" for name in MODULES]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_of_the_older_api_is_there_and_imports_no_framework(name: str) -> None:
    found = run_fresh(
        f"import json, sys, importlib; m = importlib.import_module('arraybridge.{name}');"
        "names = ('numpy', 'torch', 'jax', 'tensorflow', 'cupy', 'pyclesperanto');"
        "print(json.dumps([m.__name__, [n for n in names if n in sys.modules]]))"
    )
    assert found == [f"arraybridge.{name}", []]


def test_each_module_exists_once() -> None:
    assert run_fresh("import json\ntry:\n import arraybridge.compat.types\nexcept ImportError:\n print('1')") == 1


def test_a_star_import_takes_no_decorator_of_a_framework() -> None:
    space: dict[str, Any] = {"numpy": np}
    exec("from arraybridge import *", space)
    assert space["numpy"] is np
    assert not {"torch", "jax", "tensorflow", "cupy", "pyclesperanto"} & set(space)
    assert space["memory_types"] is ab.memory_types


def test_every_name_that_is_offered_is_there() -> None:
    for name in ab.__all__:
        assert getattr(ab, name) is not None
    for name in ab._LATER:
        assert getattr(ab, name) is not None
    assert set(ab._LATER) <= set(dir(ab))


@pytest.mark.parametrize(("module", "names"), [
    ("array_payload", "Array ArrayPayloadT"),
    ("converters", "Array ArrayLibrary Device MemoryConversionError MemoryType VALID_MEMORY_TYPES"),
    ("converters_registry", "MemoryType"),
    ("decorators", "Array ArrayLibrary ArrayPayload F MemoryContractAttribute MemoryType SCALING_FUNCTIONS "
     "optional_import process_slices _execute_with_oom_recovery _FRAMEWORK_OPS"),
    ("dtype_scaling", "MemoryType optional_import"),
    ("gpu_cleanup", "MemoryType"),
    ("libraries", "AcceleratorDevice ArrayPayload Device HOST HostDevice NamedDevice"),
    ("oom_recovery", "MemoryType optional_import"),
    ("slice_processing", "ArrayLibrary _get_device_id detect_memory_type stack_slices unstack_slices"),
    ("stack_utils", "Array ArrayLibrary Device GPU_MEMORY_TYPES MemoryType convert_memory detect_memory_type "
     "optional_import"),
    ("types", "Array ArrayLibrary F"),
    ("utils", "MemoryConversionError MemoryType"),
])  # fmt: skip
def test_modules_have_what_they_took_from_others(module: str, names: str) -> None:
    from importlib import import_module

    there = import_module(f"arraybridge.{module}")
    for name in names.split():
        found = getattr(there, name)
        assert found is getattr(ab, name, found), name
    assert ab.ConversionRoute.convert == ab.ConversionRoute.run
    assert not ab.DtypeConversionConfig.is_semantic_control


def test_what_the_page_says_is_not_there_is_not_there() -> None:
    import re
    from importlib import import_module

    page = PAGE.read_text("utf-8")
    cells = re.findall(r"^\|[^|]*\|([^|]*)\|[^|]*\|$", page.partition("### Names that are not there")[2], re.M)
    absent = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    absent -= {"ConversionRoute", "SliceBySliceRuntimeParameter", "DtypeConversionConfig"}  # whose methods it names
    assert len(absent) > 30
    owners = [ab.ArrayLibrary, ab.ConversionRoute, ab.SliceBySliceRuntimeParameter, ab.DtypeConversionConfig]
    owners += [import_module(f"arraybridge.{name}") for name in MODULES]
    assert [(name, owner) for name in absent for owner in owners if hasattr(owner, name)] == []


def test_modules_and_decorators_do_not_hide_each_other() -> None:
    for name in MODULES:
        __import__(f"arraybridge.{name}")
    for name in ("numpy", "cupy", "torch", "tensorflow", "jax", "pyclesperanto"):
        assert getattr(ab, name).__name__ == name
        assert callable(getattr(ab, name))
    assert callable(ab.convert) and callable(ab.scale) and callable(ab.trace) and callable(ab.strict)


# ---------------------------------------------------------------- devices


@pytest.mark.parametrize("make", [
    lambda: ab.HOST, ab.HostDevice, lambda: ab.AcceleratorDevice(1), lambda: ab.NamedDevice("name"),
])  # fmt: skip
def test_devices_are_values(make: Any) -> None:
    device = make()
    assert device == make() and hash(device) == hash(make())
    assert isinstance(device, ab.Device)
    back = pickle.loads(pickle.dumps(device))
    assert back == device and type(back) is type(device) and back.label == device.label
    with pytest.raises(AttributeError):
        device.index = 3
    assert type(device).__module__ == "arraybridge.devices"


def test_different_devices_differ() -> None:
    assert len({ab.HOST, ab.AcceleratorDevice(0), ab.AcceleratorDevice(1), ab.NamedDevice("0")}) == 4


def test_convert_takes_devices() -> None:
    data = np.arange(4, dtype=np.float32).reshape(2, 2)
    assert ab.convert(data, "torch", device=ab.HOST).shape == (2, 2)
    with pytest.raises(ab.MemoryConversionError, match="accelerator:0"):
        ab.convert(data, "numpy", device=ab.AcceleratorDevice(0))
    with pytest.raises(ab.MemoryConversionError, match="device:nowhere"):
        ab.convert(data, "torch", device=ab.NamedDevice("nowhere"))
    # The older spelling falls back to the host, and the record says so.
    with ab.records() as log:
        ab.convert_memory(data, "numpy", "numpy", 0)
        ab.convert(data, "torch", gpu_id=0)
    import torch

    assert log[-1].host_fallback is (not torch.cuda.is_available())


def test_an_opencl_device_is_an_accelerator() -> None:
    data = np.arange(4, dtype=np.float32).reshape(2, 2)
    there = ab.convert(data, "pyclesperanto", device=ab.AcceleratorDevice(0))
    library = ab.ArrayLibrary.of(there)
    assert library.device_of(there) == ab.AcceleratorDevice(0)
    assert library.device_of(there) in library.available_devices()
    assert library.host_devices() == ()
    name = ab.list_devices("pyclesperanto")[0].name
    assert ab.ArrayLibrary.of(ab.convert(data, "pyclesperanto", device=ab.NamedDevice(name))) is library


# ---------------------------------------------------------------- the facade


def test_the_facade_is_not_for_subclassing() -> None:
    with pytest.raises(TypeError, match="plugin"):
        type("Mine", (ab.ArrayLibrary,), {})
    with pytest.raises(TypeError, match="named"):
        ab.ArrayLibrary()


@pytest.mark.parametrize("name", frameworks.NAMES)
def test_the_facade_works_in_every_framework(name: str) -> None:
    data = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    library = ab.ArrayLibrary.named(name)
    there = ab.convert(data, name)

    def numpy_of(value: Any) -> Any:
        return ab.convert(value, "numpy")

    assert library.accepts(there) and library.of(there) is library
    assert library.nbytes_of(there) == 48
    for reduction in ("max", "min", "mean", "sum"):
        result = getattr(library, reduction)(there, 0)
        assert np.allclose(np.squeeze(numpy_of(result)), getattr(data, reduction)(axis=0)), reduction
    assert numpy_of(library.astype(there, "uint8")).dtype == np.uint8
    assert np.array_equal(numpy_of(library.reshape(there, (4, 3))), data.reshape(4, 3))
    assert numpy_of(library.broadcast_to(library.reshape(there, (1, 4, 3)), (2, 4, 3))).shape == (2, 4, 3)
    assert numpy_of(library.ones_like(there, shape=(2, 2), dtype="float32")).tolist() == [[1, 1], [1, 1]]
    stacked = library.stack_arrays([library.reshape(there, (4, 3))] * 2)
    assert numpy_of(stacked).shape == (2, 4, 3)
    scaled = numpy_of(library.scale_dtype(there, np.uint8))
    assert (scaled.min(), scaled.max()) == (0, 255)
    assert np.array_equal(numpy_of(library.to_numpy(there)), data)
    assert np.array_equal(numpy_of(library.from_numpy(data, library.available_devices()[0])), data)


@pytest.mark.parametrize("name", ["numpy", "torch", "tensorflow", "jax"])
def test_the_facade_makes_arrays(name: str) -> None:
    library = ab.ArrayLibrary.named(name)

    def listed(value: Any) -> Any:
        return np.asarray(ab.convert(value, "numpy") if library.accepts(value) else value).tolist()

    assert listed(library.linspace(0, 1, 3, endpoint=True)) == [0, 0.5, 1]
    assert listed(library.linspace(0, 1, 2, endpoint=False)) == [0, 0.5]
    assert listed(library.ones((1, 2), "float32")) == [[1, 1]]
    two = library.from_numpy(np.array([2.0, 3.0], np.float32), ab.HOST)
    assert listed(library.outer(two, two)) == [[4, 6], [6, 9]]
    assert float(listed(library.floor(2.7))) == 2
    assert listed(library.logical_and(library.astype(two, "bool"), library.astype(two, "bool"))) == [True, True]
    grid = library.from_numpy(np.zeros((2, 2), np.float32), ab.HOST)
    assert listed(library.assign(grid, slice(0, 1), library.ones((1, 2), "float32"))) == [[1, 1], [0, 0]]
    assert listed(library.normalize_planes(library.prepend_axis(two), "float32", (2.0,))) == [[1, 1.5]]


@pytest.mark.parametrize("name", frameworks.NAMES)
def test_the_facade_names_dtypes_and_nothing_else(name: str) -> None:
    library = ab.ArrayLibrary.named(name)
    there = ab.convert(np.ones((2, 2), np.float32), name)
    assert library.dtype_name(there.dtype) == "float32"
    for dtype in ("float32", np.float32, np.dtype("float32")):
        assert library.dtype_name(dtype) == "float32"
    assert library.dtype_name(float) == "float64"
    for nonsense in (there, np.ones(2), np.float32(3), 3, None, [1.0], ...):
        with pytest.raises(TypeError, match="a dtype"):
            library.dtype_name(nonsense)
        with pytest.raises(TypeError, match="a dtype"):
            library.astype(there, nonsense)


def test_reading_mappings_cannot_be_written() -> None:
    from arraybridge.framework_config import _FRAMEWORK_CONFIG

    with pytest.raises(TypeError):
        _FRAMEWORK_CONFIG[ab.MemoryType.TORCH] = {}  # type: ignore[index]
    entry = _FRAMEWORK_CONFIG[ab.MemoryType.NUMPY]
    assert entry["conversion_ops"]["to_numpy"](np.ones(2), 0).tolist() == [1, 1]


def test_isinstance_of_array() -> None:
    import torch

    assert isinstance(np.zeros(2), ab.Array) and isinstance(torch.zeros(2), ab.Array)
    assert not isinstance([1], ab.Array) and not isinstance(torch.float32, ab.Array)


def test_members_convert_as_in_020() -> None:
    data = np.arange(3.0)
    assert ab.MemoryType.NUMPY.to_torch(data, 0).tolist() == [0, 1, 2]
    assert ab.MemoryType.NUMPY.converter.to_numpy(data, 0) is data
    assert ab.MemoryType.JAX.to_numpy(ab.convert(data, "jax"), 0).tolist() == [0, 1, 2]


def test_setting_a_device_that_is_not_there() -> None:
    from arraybridge.utils import _set_device

    _set_device("numpy", 0)
    with pytest.raises(ab.MemoryConversionError):
        _set_device("pyclesperanto", 1000)
    with pytest.raises(ValueError):
        _set_device("nonsense", 0)
