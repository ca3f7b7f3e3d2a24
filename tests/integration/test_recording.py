"""Observers, counters, traces and strict blocks: what they are told of, and in which context."""

from __future__ import annotations

import contextvars
import json
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import arraybridge as ab
import frameworks  # noqa: F401  first: it prepares the OpenCL drivers
import numpy as np
import pytest
from arraybridge.observer import ConversionObserver, IgnoreConversions
from children import Children


def image() -> np.ndarray[Any, Any]:
    return np.arange(6, dtype=np.float32).reshape(2, 3)


def read_only() -> np.ndarray[Any, Any]:
    made = image()
    made.flags.writeable = False
    return made


class Log(ConversionObserver):
    def __init__(self) -> None:
        self.seen: list[ab.ConversionRecord] = []

    def record(self, record: ab.ConversionRecord) -> None:
        self.seen.append(record)


# ---------------------------------------------------------------- observers


def test_an_observer_is_told_while_it_is_installed() -> None:
    log = Log()
    ab.convert(image(), "torch")
    with log.installed() as inside:
        assert inside is log is ConversionObserver.current
        ab.convert(image(), "torch")
    ab.convert(image(), "torch")
    assert [record.target for record in log.seen] == ["torch"]
    assert isinstance(ConversionObserver.current, IgnoreConversions)


def test_what_is_handed_back_is_not_observed_but_recorded() -> None:
    log = Log()
    with log.installed(), ab.records() as rows:
        ab.convert(image(), "numpy")
    assert log.seen == []
    assert [row.mechanism for row in rows] == ["same"]


def test_an_inner_observer_replaces_the_outer_one() -> None:
    outer, inner = Log(), Log()
    with outer.installed():
        with inner.installed():
            ab.convert(image(), "torch")
        ab.convert(image(), "torch")
        IgnoreConversions().install()
        ab.convert(image(), "torch")
    assert (len(outer.seen), len(inner.seen)) == (1, 1)


def test_records_and_observers_do_not_disturb_each_other() -> None:
    log = Log()
    with ab.records() as rows:
        before = log.install()
        ab.convert(image(), "torch")
    ab.convert(image(), "torch")
    before.install()
    ab.convert(image(), "torch")
    assert (len(rows), len(log.seen)) == (1, 2)


def test_an_observer_belongs_to_its_context() -> None:
    log = Log()

    def work() -> None:
        ab.convert(image(), "torch")

    with log.installed(), ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()
        assert log.seen == []
        pool.submit(contextvars.copy_context().run, work).result()
        assert len(log.seen) == 1


def test_what_an_observer_raises_is_raised_by_the_conversion_and_others_are_told() -> None:
    class Broken(ConversionObserver):
        def record(self, record: ab.ConversionRecord) -> None:
            raise LookupError("broken")

    with Broken().installed(), ab.records() as rows, pytest.raises(LookupError, match="broken"):
        ab.convert(image(), "torch")
    assert len(rows) == 1


def test_an_observer_must_say_what_to_do() -> None:
    with pytest.raises(TypeError):
        ConversionObserver()  # type: ignore[abstract]


def test_a_block_left_elsewhere_ends_all_the_same() -> None:
    log = Log()

    def passed_on() -> Any:
        with log.installed(), ab.records() as rows:
            yield rows

    made = passed_on()
    rows = contextvars.copy_context().run(next, made)
    made.close()
    ab.convert(image(), "torch")
    assert rows == [] and log.seen == []


def test_decorated_functions_and_stacks_are_observed() -> None:
    @ab.torch(output_type="numpy")
    def double(picture: Any) -> Any:
        return picture * 2

    log = Log()
    with log.installed():
        double(image())
        ab.stack_slices([image()], "torch")
    assert {(record.source, record.target) for record in log.seen[:2]} == {("numpy", "torch"), ("torch", "numpy")}
    assert len(log.seen) == 3


class Converting(ConversionObserver):
    """Converts when it is told of a conversion, as one that looks at values does."""

    def __init__(self) -> None:
        self.told = 0

    def record(self, record: ab.ConversionRecord) -> None:
        self.told += 1
        ab.convert(image(), "torch")


def test_an_observer_that_converts_is_not_told_of_its_own_doing() -> None:
    observer = Converting()
    with observer.installed(), ab.records() as log:
        ab.convert(image(), "torch")
        ab.convert(image(), "torch")
    assert observer.told == 2
    assert len(log) == 2


def test_it_does_not_need_much_stack(children: Children) -> None:
    assert children.run(__name__, "observe_on_a_small_stack").check() == [1]


def observe_on_a_small_stack() -> list[int]:
    observer = Converting()

    def work() -> None:
        with observer.installed():
            ab.convert(image(), "torch")

    ab.convert(image(), "torch")
    threading.stack_size(256 << 10)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return [observer.told]


def test_a_conversion_in_a_signals_handler_is_counted_as_well(children: Children) -> None:
    ended, total = children.run(__name__, "count_in_handlers", timeout=60).check()
    assert ended and total > 100


def count_in_handlers() -> list[Any]:
    """The handler runs wherever the thread is, now and then where the counters' lock is held."""
    counters = ab.ConversionCounters()
    source = image()
    ab.convert(source, "torch")
    end = time.monotonic() + 3

    def handler(number: int, frame: Any) -> None:
        ab.convert(source, "torch")
        if time.monotonic() < end:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(5e-5, 2e-4))

    signal.signal(signal.SIGALRM, handler)
    with counters.installed():
        signal.setitimer(signal.ITIMER_REAL, 1e-4)
        while time.monotonic() < end:
            ab.convert(source, "torch")
    signal.setitimer(signal.ITIMER_REAL, 0)
    return [True, counters.rows()[0]["count"]]


# ---------------------------------------------------------------- counters


def count(conversions: int, source: Any = image) -> ab.ConversionCounters:
    counters = ab.ConversionCounters()
    with counters.installed():
        for _ in range(conversions):
            ab.convert(source(), "torch")
    return counters


def test_counters_add_up_by_kind() -> None:
    counters = count(3)
    with counters.installed():
        ab.convert(read_only(), "torch")
        ab.convert(np.zeros(100), "torch")
    rows = counters.rows()
    assert [(row["mechanism"], row["count"]) for row in rows] == [("exchange", 4), ("pivot+exchange", 1)]
    assert [(row["nbytes"], row["bytes_copied"]) for row in rows] == [(872, 0), (24, 24)]
    assert rows[1]["declined_mechanisms"] == ["exchange"]
    assert all(row["seconds"] > 0 for row in rows)


def test_counters_merge_pickle_and_travel_as_json() -> None:
    first, second = count(2), count(3)
    back = ab.ConversionCounters.from_json(json.loads(json.dumps(second.to_json())))
    assert back == second == pickle.loads(pickle.dumps(second))
    seconds = first.rows()[0]["seconds"] + back.rows()[0]["seconds"]
    assert first.merge(back) is first
    (row,) = first.rows()
    assert (row["count"], row["nbytes"], row["seconds"]) == (5, 120, seconds)


def test_counters_read_the_rows_of_the_older_package() -> None:
    row = {
        "source_library": "numpy", "source_device": "host", "target_library": "torch", "target_device": "host",
        "mechanism": "dlpack", "declined_mechanisms": [], "count": 2, "nbytes": 10, "seconds": 0.5,
    }  # fmt: skip
    counters = ab.ConversionCounters.from_json([row])
    assert counters.rows() == [{**row, "bytes_copied": 0}]


def test_the_table_has_a_line_for_each_kind() -> None:
    lines = count(2).merge(count(1, read_only)).format_table().splitlines()
    assert len(lines) == 3
    assert lines[0].split()[:3] == ["source", "target", "mechanism"]
    assert "48 B" in lines[1] and "pivot+exchange" in lines[2]


def test_counters_of_many_threads_lose_nothing() -> None:
    counters = ab.ConversionCounters()

    def work() -> None:
        for _ in range(500):
            ab.convert(image(), "torch")

    with counters.installed():
        threads = [threading.Thread(target=contextvars.copy_context().run, args=(work,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counters.rows()[0]["count"] == 2000


# ---------------------------------------------------------------- traces


def test_a_trace_is_what_viewers_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    with ab.trace(path) as trace, trace.span("work"):
        ab.convert(image(), "torch")
        ab.convert(read_only(), "torch")
    made = json.loads(path.read_text())
    events = made["traceEvents"]
    spans = {event["name"]: event for event in events if event["ph"] == "X"}
    assert set(spans) == {"numpy -> torch", "work"}
    for event in spans.values():
        assert event["ts"] >= 0 and event["dur"] > 0
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
    inner, outer = spans["numpy -> torch"], spans["work"]
    assert outer["ts"] <= inner["ts"] and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"]
    assert inner["args"]["bytes_copied"] == 24
    assert [event["args"]["bytes"] for event in events if event["ph"] == "C"] == [0, 24]
    names = [event["args"]["name"] for event in events if event["ph"] == "M"]
    assert names == [threading.current_thread().name]


def test_a_trace_has_a_table_and_a_picture(tmp_path: Path) -> None:
    with ab.trace(tmp_path / "run.json") as trace:
        tensor = ab.convert(image(), "torch")
        ab.convert(tensor, "numpy")
        ab.convert(read_only(), "torch")
        ab.convert(image(), "numpy")
    ways = {(arrow.source[0], arrow.target[0]): arrow for arrow in trace.arrows()}
    assert {ends: (arrow.count, arrow.bytes_copied) for ends, arrow in ways.items()} == {
        ("numpy", "torch"): (2, 24), ("torch", "numpy"): (1, 0), ("numpy", "numpy"): (1, 0),
    }  # fmt: skip
    text = (tmp_path / "run.txt").read_text()
    assert trace.table() in text and "24 B" in text
    assert trace.picture_note == ""
    picture = (tmp_path / "run.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and len(picture) > 5000


def test_a_trace_sees_every_thread_and_ends_with_its_block(tmp_path: Path) -> None:
    with ab.trace(tmp_path / "run.json", picture=False) as trace:
        thread = threading.Thread(target=lambda: ab.convert(image(), "torch"), name="worker")
        thread.start()
        thread.join()
    ab.convert(image(), "torch")
    assert len(trace.records) == 1
    assert not (tmp_path / "run.png").exists()
    assert "worker" in (tmp_path / "run.json").read_text()
    with pytest.raises(RuntimeError):
        trace.__enter__()


def test_a_thread_that_comes_late_does_not_disturb_the_writing(tmp_path: Path) -> None:
    class Growing(dict):  # type: ignore[type-arg]
        """Stands for another thread that has its first conversion now."""

        def items(self) -> Any:
            for number, pair in enumerate(super().items()):
                self[-number - 1] = "late"
                yield pair

        def copy(self) -> dict[Any, Any]:
            return dict(self)

    trace = ab.trace(tmp_path / "run.json", picture=False)
    with trace:
        ab.convert(image(), "torch")
        trace._threads = Growing(trace._threads)
    assert json.loads((tmp_path / "run.json").read_text())["traceEvents"]


def test_a_trace_file_cannot_be_its_own_table(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run\.json"):
        ab.trace(tmp_path / "run.txt")


def test_a_place_that_cannot_be_written_is_told_before_the_block(tmp_path: Path) -> None:
    begun = []

    def run(path: Path) -> None:
        with pytest.raises(OSError), ab.trace(path):
            begun.append(path)

    (tmp_path / "folder.json").mkdir()
    (tmp_path / "table.txt").mkdir()
    (tmp_path / "picture.png").mkdir()
    (tmp_path / "file").write_text("kept")
    for name in ("folder.json", "table.json", "picture.json", "file/run.json", "n" * 300 + ".json"):
        run(tmp_path / name)
    run(Path("/proc/arraybridge.json"))  # nobody can write there, not even root
    assert not begun
    with ab.trace(tmp_path / "picture.json", picture=False):
        pass
    assert (tmp_path / "picture.json").stat().st_size > 0


def test_looking_whether_a_trace_can_be_written_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("of the last run")
    with ab.trace(tmp_path / "run.json"):
        assert (tmp_path / "run.json").read_text() == "of the last run"
        assert [one.name for one in tmp_path.iterdir()] == ["run.json"]
    assert json.loads((tmp_path / "run.json").read_text())
    with ab.trace(tmp_path / "new.json", picture=False):
        assert not (tmp_path / "new.json").exists()


def test_a_trace_is_written_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), ab.trace(tmp_path / "run.json", picture=False):
        ab.convert(image(), "torch")
        raise ZeroDivisionError
    assert "numpy -> torch" in (tmp_path / "run.json").read_text()


def test_without_matplotlib_there_is_no_picture(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["matplotlib"] = None
import numpy, arraybridge
with arraybridge.trace({str(tmp_path / "run.json")!r}) as trace:
    arraybridge.convert(numpy.zeros(3), "numpy")
assert trace.picture_note.startswith("no picture"), trace.picture_note
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.txt"]


def test_matplotlib_is_imported_at_the_end_only(tmp_path: Path) -> None:
    code = f"""
import sys, numpy, arraybridge
with arraybridge.trace({str(tmp_path / "run.json")!r}) as trace:
    arraybridge.convert(numpy.zeros(3), "numpy")
    assert "matplotlib" not in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# ---------------------------------------------------------------- strict


@pytest.mark.parametrize(("make", "target", "words"), [
    (read_only, "torch", "may be written"),
    (lambda: image().astype(">f4"), "torch", "byte order"),
    (lambda: image()[:, ::-1], "torch", "contiguous"),
    (lambda: np.arange(33, dtype=np.float32)[1:], "tensorflow", "aligned"),
])  # fmt: skip
def test_a_hidden_copy_is_an_error_that_says_what_would_avoid_it(make: Any, target: str, words: str) -> None:
    ab.convert(make(), target)
    with ab.strict(), pytest.raises(ab.MemoryConversionError, match="hidden copy") as caught:
        ab.convert(make(), target)
    assert words in caught.value.hint
    assert (caught.value.method, caught.value.status) == ("strict", "WOULD_COPY")
    ab.convert(make(), target)


def test_copies_that_are_asked_for_are_not_hidden() -> None:
    with ab.strict():
        ab.convert(image(), "torch")
        ab.convert(image(), "torch", copy=True)
        ab.convert(image(), "torch", mutable="copy")
        ab.convert(image(), "torch", dtype="float64", casting="same_kind")
        ab.convert(image(), "torch", dtype="uint8", scaling="clip")
        ab.stack_slices([image(), image()], "torch")
        with ab.options(mutable="copy"):
            ab.convert(image(), "torch")


def test_the_way_to_a_device_and_back_is_not_hidden() -> None:
    with ab.strict():
        there = ab.convert(image(), "pyclesperanto")
        ab.convert(there, "numpy")


def test_small_copies_may_pass() -> None:
    with ab.strict(above=24):
        ab.convert(read_only(), "torch")
        with pytest.raises(ab.MemoryConversionError):
            ab.convert(np.broadcast_to(np.float32(1), (7, 1))[::-1], "torch")


def test_strict_holds_in_decorated_functions() -> None:
    @ab.torch
    def identity(picture: Any) -> Any:
        return picture

    with ab.strict():
        identity(image())
        with pytest.raises(ab.MemoryConversionError, match="hidden copy"):
            identity(read_only())
    assert identity(read_only()).shape == (2, 3)


@pytest.mark.parametrize("name", ["jax", "pyclesperanto", "tensorflow"])
def test_strict_names_a_way_out_for_decorated_functions(name: str) -> None:
    @ab.backend(name)(output_type="numpy")
    def same(given: Any) -> Any:
        return given

    picture = ab.convert(image(), "numpy", copy=True)
    with ab.strict():
        with pytest.raises(ab.MemoryConversionError) as caught:
            same(picture)
        hint = caught.value.hint
        assert 'arraybridge.options(mutable="copy")' in hint
        assert f'hand a decorated function convert(x, "{name}", copy=True)' in hint
        # Both are true.
        with ab.options(mutable="copy"):
            assert same(picture).shape == (2, 3)
        assert same(ab.convert(picture, name, copy=True)).shape == (2, 3)


@pytest.mark.parametrize("make", [read_only, lambda: image()[:, ::-1]])
def test_strict_lets_a_copy_in_front_of_a_decorated_function_pass(make: Any) -> None:
    same = ab.torch(lambda picture: picture)
    with ab.strict():
        with pytest.raises(ab.MemoryConversionError, match='convert\\(x, "torch", copy=True\\)'):
            same(make())
        same(ab.convert(make(), "torch", copy=True))


def test_strict_offers_no_copy_that_it_would_refuse() -> None:
    with ab.strict(), pytest.raises(ab.MemoryConversionError, match="byte order") as caught:
        ab.convert(image().astype(">f4"), "torch", copy=True)
    assert "copy=True" not in caught.value.hint


def test_strict_holds_in_its_context_only() -> None:
    with ab.strict(), ThreadPoolExecutor(1) as pool:
        pool.submit(ab.convert, read_only(), "torch").result()


def test_strict_blocks_nest() -> None:
    strict = ab.strict()
    with strict:
        with strict:
            pass
        with pytest.raises(ab.MemoryConversionError):
            ab.convert(read_only(), "torch")
    ab.convert(read_only(), "torch")


# ---------------------------------------------------------------- off


def test_nothing_is_asked_when_nobody_listens() -> None:
    asked: list[int] = []
    from arraybridge import record

    def ask() -> Any:
        asked.append(1)
        return record._sinks()

    ab._library.native.connect({"sinks": ask})
    try:
        ab.convert(image(), "torch")
        assert asked == []
        with ab.records():
            ab.convert(image(), "torch")
        assert asked == [1]
        ab.convert(image(), "torch")
        assert asked == [1]
    finally:
        ab._library.native.connect({"sinks": record._sinks})
