"""Times decorated functions that do nothing beside the bare call and, with --peer, beside the older package.

Usage::

    python benchmarks/decorators.py [--peer FOLDER] [--rounds 40] [--json FILE] [--strict FACTOR]

FOLDER is where the older arraybridge is installed (``pip install --target FOLDER arraybridge==0.5.2``); it runs in a
process of its own, rounds of both taking turns. The table has, in ns for a call with an argument that is at home, the
minimum over the rounds: the bare call, ours and the peer's, and what each adds. Bars: ours adds at most 1,500 ns, and
memory_types no more than the peer's. With ``--strict 1.5`` the exit code is 1 if a bar is missed by more than that.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

LIMIT = 1500.0
CALLS = 20_000
CASES = ("memory_types", "memory_types torch", "numpy", "torch", "jax")


def bare(image: Any) -> Any:
    return image


def _argument(name: str) -> Any:
    if name.endswith("torch"):
        import torch

        return torch.ones(4, 4)
    if name == "jax":
        import jax.numpy

        return jax.numpy.ones((4, 4))
    import numpy

    return numpy.ones((4, 4), numpy.float32)


def _block(function: Callable[[Any], Any], argument: Any) -> float:
    start = time.perf_counter_ns()
    for _ in range(CALLS):
        function(argument)
    return (time.perf_counter_ns() - start) / CALLS


def _decorator(decorators: Any, case: str) -> Any:
    kind, _, name = case.partition(" ")
    if kind != "memory_types":
        return getattr(decorators, kind)
    return decorators.memory_types(name or "numpy", name or "numpy")


def serve() -> None:
    """One round for each line read: the bare and the decorated time of each case, as JSON."""
    import arraybridge.decorators as decorators

    pairs: dict[str, tuple[Any, Any]] = {}
    for case in CASES:
        pairs[case] = (_decorator(decorators, case)(bare), _argument(case))
    for function, argument in pairs.values():
        function(argument)
    print("ready", flush=True)
    for _ in sys.stdin:
        times = {
            case: (_block(bare, argument), _block(function, argument)) for case, (function, argument) in pairs.items()
        }
        print(json.dumps(times), flush=True)


class Side:
    """One package in a process of its own."""

    def __init__(self, folder: str | None) -> None:
        environment = dict(os.environ)
        if folder is not None:
            environment["PYTHONPATH"] = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve"], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.best = {case: (float("inf"), float("inf")) for case in CASES}
        if self._read() != "ready":
            raise SystemExit(f"the package in {folder or 'this environment'} does not run")

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def round(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        for case, (plain, decorated) in json.loads(self._read()).items():
            best = self.best[case]
            self.best[case] = (min(best[0], plain), min(best[1], decorated))

    def added(self, case: str) -> float:
        return self.best[case][1] - self.best[case][0]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(folder: str | None, rounds: int) -> list[dict[str, Any]]:
    """One row for each case."""
    ours = Side(None)
    peer = Side(folder) if folder is not None else None
    for _ in range(rounds):
        ours.round()
        if peer is not None:
            peer.round()
    rows = []
    for case in CASES:
        bar = peer.added(case) if peer is not None and case.startswith("memory_types") else LIMIT
        row = {"case": case, "bare": ours.best[case][0], "ours": ours.best[case][1], "added": ours.added(case)}
        rows.append({**row, "peer_added": peer.added(case) if peer is not None else None, "bar": bar})
    for side in (ours, peer):
        if side is not None:
            side.close()
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    print(f"{'ns a call':20}{'bare':>8}{'ours':>8}{'added':>8}{'peer':>9}{'bar':>8}")
    for row in rows:
        peer = "-" if row["peer_added"] is None else f"{row['peer_added']:.0f}"
        print(f"{row['case']:20}{row['bare']:8.0f}{row['ours']:8.0f}{row['added']:8.0f}{peer:>9}{row['bar']:8.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peer", help="folder with the older package")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--strict", type=float)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    rows = measure(options.peer, options.rounds)
    show(rows)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    missed = [row["case"] for row in rows if options.strict and row["added"] > row["bar"] * options.strict]
    for case in missed:
        print(f"missed: {case}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
