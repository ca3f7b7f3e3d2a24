"""Order on a real GPU: what consumers see, what may be reused when, and what a capture survives.

Each schedule is tried ``--attempts`` times (200 unless told otherwise; those beside the point a quarter of that) with a
stream that is busy for 5 to 50 ms, and has to be right each time. The controls at the end do the same without
arraybridge and without order: they must go wrong, else the schedules would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .busy_streams import SIZE, BusyJax, all_equal, count_right, sleep, torch_view
from .driver_calls import DriverCalls, is_synchronising
from .gpu_arrays import GPU, JAX_GPU, MAKE, arraybridge, cupy, driver_version, jax, np, torch

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
def busy_jax() -> BusyJax:
    return BusyJax()


@pytest.fixture
def fewer(attempts: int) -> int:
    """For schedules beside the point."""
    return max(min(10, attempts), attempts // 4)


@pytest.fixture(scope="module")
def side() -> dict[str, Any]:
    """A side stream of each framework that has streams. None blocks with the default stream."""
    return {"cupy": cupy.cuda.Stream(non_blocking=True), "torch": torch.cuda.Stream()}


def on(name: str, stream: Any) -> Any:
    """The stream is current in its framework; None leaves it as it is."""
    if stream is None:
        return torch.cuda.stream(None)
    return stream if name == "cupy" else torch.cuda.stream(stream)


def full(name: str, value: float) -> Any:
    """A new array of CuPy's or torch's, filled on its current stream."""
    if name == "cupy":
        return cupy.full(SIZE, value, cupy.float32)
    return torch.full((SIZE,), value, device="cuda")


def delay(name: str, milliseconds: float) -> None:
    """Keeps the current stream of CuPy or torch busy."""
    current = torch.cuda.current_stream() if name == "torch" else torch_view(cupy.cuda.get_current_stream())
    sleep(current, milliseconds)


def check(attempts: int, record: Record, schedule: Callable[[int, float], Any]) -> None:
    """Right each time, and the count goes into the results."""
    right = count_right(attempts, schedule)
    record("right", f"{right} of {attempts}")
    assert right == attempts


# ---------------------------------------------------------------- forward: the consumer waits for the producer

WITH_STREAMS = [("cupy", "torch"), ("torch", "cupy")]


@pytest.mark.parametrize("consumer", ["default", "side"])
@pytest.mark.parametrize(("source", "target"), WITH_STREAMS)
def test_consumer_waits_for_a_busy_side_stream(
    source: str, target: str, consumer: str, side: dict[str, Any], attempts: int, record_property: Record
) -> None:
    """convert_memory(cupy -> torch), the producer on a busy side stream: wrong 18 and 19 of 20 in the older package."""

    def schedule(number: int, milliseconds: float) -> Any:
        with on(source, side[source]):
            delay(source, milliseconds)
            made = full(source, number)
            with on(target, side[target] if consumer == "side" else None):
                return arraybridge.convert_memory(made, source, target) + 0

    check(attempts, record_property, schedule)


def test_torch_function_waits_for_the_default_stream(attempts: int, record_property: Record) -> None:
    """@torch on an input made on the default stream: wrong 19 of 20 in the older package."""

    @arraybridge.backend("torch")
    def shifted(image: Any) -> Any:
        return image + 1

    def schedule(number: int, milliseconds: float) -> Any:
        delay("torch", milliseconds)
        return shifted(full("torch", number - 1))

    check(attempts, record_property, schedule)


@pytest.mark.parametrize("worker", ["torch", "cupy"])
def test_result_of_a_function_is_read_on_the_default_stream(
    worker: str, attempts: int, record_property: Record
) -> None:
    """Read there: wrong 20 of 20 in the older package."""

    @arraybridge.backend(worker)
    def late(image: Any) -> Any:
        delay(worker, milliseconds_here[0])
        return image + 1

    milliseconds_here = [0.0]

    def schedule(number: int, milliseconds: float) -> Any:
        milliseconds_here[0] = milliseconds
        return late(full(worker, number - 1)) + 0

    check(attempts, record_property, schedule)


@pytest.mark.parametrize("worker", ["torch", "cupy"])
def test_stream_block_waits_and_is_waited_for(worker: str, fewer: int, record_property: Record) -> None:
    """``with arraybridge.stream(…)``: before and after it, the default stream."""

    def schedule(number: int, milliseconds: float) -> Any:
        delay(worker, milliseconds / 2)
        made = full(worker, number - 1)
        with arraybridge.stream(worker):
            delay(worker, milliseconds / 2)
            result = made + 1
        return result + 0

    check(fewer, record_property, schedule)


@pytest.mark.parametrize("source", ["torch", "numpy"])
def test_cupy_function_takes_arrays_of_others(
    source: str, side: dict[str, Any], attempts: int, record_property: Record
) -> None:
    """A NumPy array passed through, and a torch tensor was a TypeError, in the older package."""

    @arraybridge.backend("cupy")(device="cuda:0")
    def shifted(image: Any) -> Any:
        assert isinstance(image, cupy.ndarray)
        return image + 1

    def schedule(number: int, milliseconds: float) -> Any:
        with torch.cuda.stream(side["torch"]):
            delay("torch", milliseconds)
            made = full("torch", number - 1) if source == "torch" else np.full(SIZE, number - 1, np.float32)
            return shifted(made)

    check(attempts, record_property, schedule)


@pytest.mark.parametrize("target", ["cupy", "torch"])
def test_consumer_waits_for_jax(
    target: str, side: dict[str, Any], busy_jax: BusyJax, fewer: int, record_property: Record
) -> None:
    def schedule(number: int, milliseconds: float) -> Any:
        made = busy_jax.make(number, milliseconds)
        with on(target, side[target]):
            return arraybridge.convert(made, target) + 0

    check(fewer, record_property, schedule)


@pytest.mark.parametrize("source", ["cupy", "torch"])
def test_jax_waits_for_a_busy_side_stream(
    source: str, side: dict[str, Any], fewer: int, record_property: Record
) -> None:
    def schedule(number: int, milliseconds: float) -> Any:
        with on(source, side[source]):
            delay(source, milliseconds)
            made = full(source, number)
            return (arraybridge.convert(made, "jax") + 0).block_until_ready()

    check(fewer, record_property, schedule)


@pytest.mark.parametrize("source", ["cupy", "torch"])
def test_host_result_waits_for_a_busy_side_stream(
    source: str, side: dict[str, Any], fewer: int, record_property: Record
) -> None:
    def schedule(number: int, milliseconds: float) -> Any:
        with on(source, side[source]):
            delay(source, milliseconds)
            return arraybridge.convert(full(source, number), "numpy")

    check(fewer, record_property, schedule)


def test_the_consumers_stream_may_be_given(side: dict[str, Any], fewer: int, record_property: Record) -> None:
    """``stream=``: work goes there, though another stream is current."""
    given = torch.cuda.Stream()

    def schedule(number: int, milliseconds: float) -> Any:
        with on("cupy", side["cupy"]):
            delay("cupy", milliseconds)
            result = arraybridge.convert(full("cupy", number), "torch", stream=given)
        with torch.cuda.stream(given):
            return result + 0

    check(fewer, record_property, schedule)


# ---------------------------------------------------------------- back: no memory is reused before the consumer is done

PRESSURE = 6
"""So many arrays of the same size are made and written right after the source was dropped."""

RUBBISH = np.full(SIZE, -1, np.float32)


def press(name: str) -> None:
    """Takes the memory that the framework has free for its current stream, and writes to it."""
    if name == "jax":
        for _ in range(PRESSURE):
            jax.device_put(RUBBISH, JAX_GPU)
        return
    taken = [full(name, -1) for _ in range(PRESSURE)]
    del taken


def made_on(name: str, number: int, busy_jax: BusyJax) -> Any:
    """A new array that is ready, or made by work that is already enqueued and short."""
    return jax.device_put(np.full(SIZE, number, np.float32), JAX_GPU) if name == "jax" else full(name, number)


@pytest.mark.parametrize(("source", "target"), [(one, other) for one in GPU for other in GPU if one != other])
def test_memory_comes_back_after_the_consumer_is_done(
    source: str, target: str, side: dict[str, Any], busy_jax: BusyJax, attempts: int, record_property: Record
) -> None:
    """The source is dropped right after the conversion, the consumer's stream is busy, and the pool is pressed."""

    def consumed(number: int, milliseconds: float) -> Any:
        imported = arraybridge.convert(made_on(source, number, busy_jax), target)
        if target == "jax":
            return busy_jax.read(imported, milliseconds)
        delay(target, milliseconds)
        return imported + 0

    def schedule(number: int, milliseconds: float) -> Any:
        with on(target, side.get(target)):
            result = consumed(number, milliseconds)
        press(source)
        return result.block_until_ready() if target == "jax" else result

    check(attempts, record_property, schedule)


def private(
    source: str, target: str, declare: bool, side: dict[str, Any], busy_jax: BusyJax
) -> Callable[[int, float], Any]:
    """The consumer hands its array to a stream that no conversion has named."""

    def schedule(number: int, milliseconds: float) -> Any:
        imported = arraybridge.convert(made_on(source, number, busy_jax), target)
        hidden = side[target]
        view = torch_view(hidden) if target == "cupy" else hidden
        view.wait_stream(torch.cuda.current_stream())
        torch.cuda.synchronize()  # the import is ready; only its reuse is in question
        with on(target, hidden):
            delay(target, milliseconds)
            result = imported + 0
        if declare:
            arraybridge.record_stream(imported, hidden)
        del imported
        press(source)
        return result

    return schedule


@pytest.mark.parametrize(("source", "target"), [*WITH_STREAMS, ("jax", "torch"), ("jax", "cupy")])
def test_declared_private_stream_counts(
    source: str, target: str, side: dict[str, Any], busy_jax: BusyJax, attempts: int, record_property: Record
) -> None:
    check(attempts, record_property, private(source, target, True, side, busy_jax))


@pytest.mark.parametrize(("source", "target"), [*WITH_STREAMS, ("jax", "torch")])
def test_release_by_context_needs_no_declaration(
    source: str, target: str, side: dict[str, Any], busy_jax: BusyJax, fewer: int, record_property: Record
) -> None:
    if driver_version() < 12050:
        pytest.skip("the driver is older than 12.5")
    schedule = private(source, target, False, side, busy_jax)
    with arraybridge.options(release="context"):
        check(fewer, record_property, schedule)


def test_function_of_another_framework_keeps_its_arguments(fewer: int, record_property: Record) -> None:
    """A decorated function works on a stream of its own: the argument is dropped while it is busy."""
    milliseconds_here = [0.0]

    @arraybridge.backend("torch")
    def late(image: Any) -> Any:
        delay("torch", milliseconds_here[0])
        return image + 0

    def schedule(number: int, milliseconds: float) -> Any:
        milliseconds_here[0] = milliseconds
        result = late(full("cupy", number))
        press("cupy")
        return result

    check(fewer, record_property, schedule)


# ---------------------------------------------------------------- the host does not wait

ARROWS = [(one, other) for one in GPU for other in GPU]


@pytest.mark.parametrize(("source", "target"), [*WITH_STREAMS, ("cupy", "jax"), ("torch", "jax")])
def test_conversion_returns_while_the_producer_is_busy(source: str, target: str, side: dict[str, Any]) -> None:
    stream = side[source]
    with on(source, stream):
        for milliseconds in (0.01, 200):  # once so that kernels are compiled and memory is there
            torch.cuda.synchronize()
            delay(source, milliseconds)
            result = arraybridge.convert(full(source, 1), target)
    done = stream.done if source == "cupy" else stream.query()
    assert not done, "the conversion waited for the producer's stream"
    del result
    torch.cuda.synchronize()


@pytest.mark.parametrize(("source", "target"), ARROWS)
def test_no_synchronising_driver_call(source: str, target: str, side: dict[str, Any], record_property: Record) -> None:
    """By a trace of the real driver, over conversions and releases, on one stream and between two."""
    made = MAKE[source](np.ones((4, 4), np.float32))

    def convert_and_drop() -> None:
        arraybridge.convert(made, target)
        with on(source, side.get(source)):
            arraybridge.convert(made, target)
        arraybridge.drain()

    for _ in range(20):
        convert_and_drop()
    torch.cuda.synchronize()
    with DriverCalls() as calls:
        for _ in range(20):
            convert_and_drop()
    record_property("driver calls", dict(calls.counts))
    waited = sorted(name for name in calls.counts if is_synchronising(name))
    assert not waited


# ---------------------------------------------------------------- capture


def test_capture_survives_a_conversion_between_two_streams(side: dict[str, Any]) -> None:
    """It is an error, made before any call of the driver that would have broken the capture."""
    fixed = torch.zeros(SIZE, device="cuda")
    outside = full("cupy", 3)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side["torch"]):
        step = fixed + 1
        with pytest.raises(arraybridge.MemoryConversionError) as caught, side["cupy"]:
            arraybridge.convert(outside, "torch")
        with pytest.raises(arraybridge.MemoryConversionError), side["cupy"]:
            arraybridge.convert(step, "cupy")
        result = step * 2
    assert "captur" in str(caught.value)
    for value in (5, 11):
        fixed.fill_(value)
        graph.replay()
        torch.cuda.synchronize()
        assert all_equal(result, 2 * (value + 1))


@pytest.mark.parametrize("size", [16, SIZE])
def test_capture_survives_transfers_to_and_from_the_host(size: int, side: dict[str, Any]) -> None:
    """Small arrays go through the framework's own call, large ones are staged."""
    fixed = torch.zeros(size, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side["torch"]):
        step = fixed + 1
        with pytest.raises(arraybridge.MemoryConversionError):
            arraybridge.convert(np.ones(size, np.float32), "torch", device="cuda:0")
        with pytest.raises(arraybridge.MemoryConversionError):
            arraybridge.convert(step, "numpy")
        result = step * 2
    fixed.fill_(5)
    graph.replay()
    torch.cuda.synchronize()
    assert all_equal(result, 12)


def test_conversion_on_the_capturing_stream_is_part_of_the_graph() -> None:
    fixed = torch.zeros(SIZE, device="cuda")
    stream = torch.cuda.Stream()
    shared = cupy.cuda.Stream.from_external(stream) if hasattr(cupy.cuda.Stream, "from_external") else None
    if shared is None:
        pytest.skip("this CuPy cannot use a stream of torch's")
    with torch.cuda.stream(stream), shared:
        cupy.multiply(arraybridge.convert(fixed + 1, "cupy"), 2)  # kernels are compiled before the capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    out = cupy.empty(SIZE, cupy.float32)
    with torch.cuda.graph(graph, stream=stream), shared:
        step = fixed + 1
        cupy.multiply(arraybridge.convert(step, "cupy"), 2, out=out)
    fixed.fill_(5)
    graph.replay()
    torch.cuda.synchronize()
    assert all_equal(out, 12)


def test_releases_that_wait_leave_a_capture_alone(side: dict[str, Any]) -> None:
    """Memory is given back while a capture runs on another stream: by polling, which must not break it."""
    fixed = torch.zeros(SIZE, device="cuda")
    with side["cupy"]:
        imported = arraybridge.convert(full("torch", 3), "cupy")
        delay("cupy", 30)
        used = imported + 0
    del imported
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side["torch"]):
        step = fixed + 1
        arraybridge.drain()
        result = step * 2
        arraybridge.drain()
    fixed.fill_(5)
    graph.replay()
    torch.cuda.synchronize()
    assert all_equal(result, 12)
    assert all_equal(used, 3)


# ---------------------------------------------------------------- controls: without order it does go wrong


def test_control_no_wait_goes_wrong(side: dict[str, Any], record_property: Record) -> None:
    """torch.as_tensor through __cuda_array_interface__ orders nothing when CuPy is told to export no stream."""

    def schedule(number: int, milliseconds: float) -> Any:
        with side["cupy"]:
            delay("cupy", milliseconds)
            made = full("cupy", number)
            with torch.cuda.stream(side["torch"]):
                return torch.as_tensor(made, device="cuda") + 0

    right = count_right(20, schedule)
    record_property("right", f"{right} of 20, wanted: fewer")
    assert right < 20


def test_control_early_reuse_goes_wrong(side: dict[str, Any], record_property: Record) -> None:
    """A pointer that keeps nothing alive: torch reuses the memory while CuPy has yet to read it."""

    def schedule(number: int, milliseconds: float) -> Any:
        made = full("torch", number)
        torch.cuda.synchronize()
        memory = cupy.cuda.UnownedMemory(made.data_ptr(), made.nbytes, None)
        with side["cupy"]:
            imported = cupy.ndarray(SIZE, cupy.float32, cupy.cuda.MemoryPointer(memory, 0))
            delay("cupy", milliseconds)
            result = imported + 0
        del made
        press("torch")
        return result

    right = count_right(20, schedule)
    record_property("right", f"{right} of 20, wanted: fewer")
    assert right < 20
