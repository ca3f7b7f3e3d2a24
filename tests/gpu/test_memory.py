"""Out of memory across frameworks on a real GPU: what one caches, another gets. Each case in a process of its own."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .gpu_arrays import torch

CHILD = Path(__file__).with_name("memory_child.py")


def case_names() -> list[str]:
    """The keys of CASES, read without running the child, which would touch the GPU."""
    for node in ast.parse(CHILD.read_text()).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "CASES" and isinstance(node.value, ast.Dict):
            return [ast.literal_eval(key) for key in node.value.keys if key is not None]
    raise LookupError("memory_child.py has no CASES")


@pytest.mark.parametrize("case", case_names())
def test_memory_that_a_neighbour_keeps_comes_back(case: str, record_property: Callable[[str, object], None]) -> None:
    torch.cuda.empty_cache()  # this process is a neighbour, too
    done = subprocess.run([sys.executable, str(CHILD), case], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-3000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    for name in ("free at the start", "before", "after", "came_back"):
        record_property(name, f"{found[name] / 2**30:.2f} GiB")
    assert found["right"], found
    assert found["came_back"] >= found["wanted_back"], found
