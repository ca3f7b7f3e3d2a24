"""scripts/test-gpu.sh where there is no GPU, and what it makes of the parts that a run leaves behind."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "scripts" / "gpu_results.py"


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


# ---------------------------------------------------------------- without a GPU

without_gpu = pytest.mark.skipif(has_driver(), reason="an NVIDIA driver is there: it would really run")


@without_gpu
def test_without_a_gpu_it_says_skipped(tmp_path: Path) -> None:
    environment = {**os.environ, "ARRAYBRIDGE_RESULTS": str(tmp_path), "ARRAYBRIDGE_PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "test-gpu.sh")], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "skipped: no NVIDIA driver (libcuda.so.1) on this machine"
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["outcome"] == "skipped"
    assert found["checks"] == found["ratios"] == found["steps"] == []
    assert "skipped" in (tmp_path / "gpu.txt").read_text()


@without_gpu
def test_without_a_gpu_the_benchmark_says_skipped(tmp_path: Path) -> None:
    call = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--strict", "1", "--json", str(tmp_path / "gpu.json")]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "skipped: no NVIDIA GPU on this machine\n")
    assert not (tmp_path / "gpu.json").exists()


@without_gpu
def test_without_a_gpu_every_file_of_tests_is_skipped() -> None:
    call = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", str(ROOT / "tests" / "gpu")]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    files = len(list((ROOT / "tests" / "gpu").glob("test_*.py")))
    assert done.returncode == 5, done.stdout
    assert f"{files} skipped" in done.stdout.splitlines()[-1]


# ---------------------------------------------------------------- what a run left behind

MACHINE: dict[str, Any] = {
    "devices": [{"name": "a GPU", "memory_gib": 8.0}], "driver": "1.0", "driver_api": "13.0", "processor": "a CPU",
    "cores": 2, "memory_gib": 4.0, "kernel": "6.1", "python": "3.12.0", "versions": {"numpy": "2.0"}, "commit": "abc",
}  # fmt: skip
RATIO = {"name": "a -> b", "value": 0.4, "sense": "at most", "bar": 0.5, "met": True}


def leave(
    folder: Path,
    checks: list[dict[str, Any]],
    steps: str = "passed\tbuild\t3\t\n",
    ended: bool = True,
    ratio: dict[str, Any] = RATIO,
) -> None:
    """The parts of a run."""
    parts = folder / "gpu"
    parts.mkdir()
    (parts / "machine.json").write_text(json.dumps(MACHINE))
    (parts / "steps.tsv").write_text(steps)
    (parts / "checks-some.jsonl").write_text("".join(json.dumps(check) + "\n" for check in checks))
    (parts / "benchmark.json").write_text(json.dumps({"versions": {}, "small": [ratio, {**RATIO, "bar": None}]}))
    if ended:
        (parts / "ended").touch()


def gather(folder: Path) -> tuple[int, dict[str, Any]]:
    done = subprocess.run([sys.executable, str(RESULTS), str(folder)], timeout=60, check=False)
    return done.returncode, json.loads((folder / "gpu.json").read_text())


DONE = [{"check": "a"}, {"check": "a", "outcome": "passed", "measured": {"right": "200 of 200"}}]


def test_everything_right_is_passed(tmp_path: Path) -> None:
    leave(tmp_path, DONE)
    status, found = gather(tmp_path)
    assert (status, found["outcome"]) == (0, "passed")
    assert found["checks"] == [DONE[1]]
    assert found["ratios"] == [RATIO]
    assert "right 200 of 200" in (tmp_path / "gpu.txt").read_text()


@pytest.mark.parametrize(
    ("outcome", "different"),
    [
        ("failed", {"checks": [{"check": "a", "outcome": "failed", "reason": "assert 199 == 200"}]}),
        ("failed", {"checks": [*DONE, {"check": "died in it"}]}),
        ("failed", {"ratio": {**RATIO, "value": 0.6, "met": False}}),
        ("failed", {"steps": "failed\tbuild\t3\tended with 1\n"}),
        ("incomplete", {"steps": "skipped\ttest_pairs\t3\tno time was left\n"}),
        ("incomplete", {"steps": ""}),
        ("unfinished", {"ended": False}),
    ],
)
def test_anything_else_is_not(tmp_path: Path, outcome: str, different: dict[str, Any]) -> None:
    leave(tmp_path, **{"checks": DONE, **different})
    status, found = gather(tmp_path)
    assert (status, found["outcome"]) == (1, outcome)
    assert outcome in (tmp_path / "gpu.txt").read_text().splitlines()[0]


def test_a_run_that_is_killed_leaves_what_it_knew(tmp_path: Path) -> None:
    leave(tmp_path, DONE, ended=False)
    with subprocess.Popen(["sleep", "60"]) as run:
        call = [sys.executable, str(RESULTS), str(tmp_path), "--watch", str(run.pid)]
        with subprocess.Popen(call) as watch:
            with (tmp_path / "gpu" / "checks-some.jsonl").open("a") as file:
                file.write('{"check": "b"}\n{"check": "c", "outco')  # a line that was not finished
            run.send_signal(signal.SIGKILL)
            run.wait()
            assert watch.wait(60) == 1
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [check["outcome"] for check in found["checks"]] == ["passed", "unfinished"]
