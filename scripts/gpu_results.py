"""Puts what a run of test-gpu.sh leaves behind into one file: gpu.json, and gpu.txt for people.

Usage::

    gpu_results.py RESULTS                 once; exit code 1 unless everything that was to run has run and is right
    gpu_results.py RESULTS --watch PID     every two seconds for as long as that process lives, and once afterwards

RESULTS/gpu holds the parts, each written as the run goes: machine.json, missing.tsv, steps.tsv, checks-*.jsonl,
benchmark.json, and ``ended`` once the script has come to its end. Both files are replaced whole, so that a run that is
killed at any moment leaves what it knew by then.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
INTERVAL = 2.0


# ---------------------------------------------------------------- reading the parts


def read_json(path: Path) -> dict[str, Any]:
    """What the file holds; nothing if it is not there, or not whole yet."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_table(path: Path, columns: list[str]) -> Rows:
    """One row for each line of tab-separated values."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return [dict(zip(columns, line.split("\t"), strict=False)) for line in lines]


def read_checks(parts: Path) -> Rows:
    """Every check with its outcome. One that began and has no end was running when its process died."""
    checks: dict[str, dict[str, Any]] = {}
    for path in sorted(parts.glob("checks-*.jsonl")):
        for line in path.read_text(errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the last line of a process that was killed while it wrote
            checks[event["check"]] = {"outcome": "unfinished", **event}
    return list(checks.values())


def ratios(benchmark: dict[str, Any]) -> Rows:
    """Every ratio that has a bar, with whether it was met."""
    rows = []
    for table in benchmark.values():
        for row in table if isinstance(table, list) else []:
            if row.get("bar") is None:
                continue
            rows.append({name: row[name] for name in ("name", "value", "sense", "bar", "met") if name in row})
    return rows


# ---------------------------------------------------------------- putting them together


def outcome_of(results: dict[str, Any], ended: bool) -> str:
    """One word for the run."""
    said = {row["outcome"] for row in results["steps"]} | {row["outcome"] for row in results["checks"]}
    if said & {"failed", "unfinished"} or not all(row["met"] for row in results["ratios"]):
        return "failed"
    if "reason" in results["machine"]:
        return "skipped"
    if not ended:
        return "unfinished"
    complete = results["steps"] and all(row["outcome"] == "passed" for row in results["steps"])
    return "passed" if complete else "incomplete"


def collect(parts: Path) -> dict[str, Any]:
    """All parts as they stand."""
    benchmark = read_json(parts / "benchmark.json")
    results: dict[str, Any] = {
        "outcome": "",
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": read_json(parts / "machine.json"),
        "missing": read_table(parts / "missing.tsv", ["name", "what"]),
        "steps": read_table(parts / "steps.tsv", ["outcome", "name", "seconds", "detail"]),
        "ratios": ratios(benchmark),
        "checks": read_checks(parts),
        "benchmark": benchmark,
    }
    results["outcome"] = outcome_of(results, (parts / "ended").exists())
    return results


# ---------------------------------------------------------------- for people


def machine_lines(machine: dict[str, Any]) -> list[str]:
    """What it ran on."""
    if not machine or "reason" in machine:
        return [machine.get("reason", "nothing is known of the machine")]
    names = Counter(f"{one['name']}, {one['memory_gib']} GiB" for one in machine["devices"])
    devices = "; ".join(f"{count} x {name}" for name, count in names.items())
    versions = "  ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return [
        f"{devices}; driver {machine['driver']} (CUDA {machine['driver_api']})",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; kernel {machine['kernel']}",
        f"Python {machine['python']}  {versions}",
        f"sources: {machine['commit'] or 'git does not say'}",
    ]


def check_lines(checks: Rows) -> list[str]:
    """Counts for each test function, what a check measured, and each check that is not right."""
    lines = []
    groups: dict[str, Counter[str]] = {}
    for check in checks:
        groups.setdefault(check["check"].split("[")[0], Counter())[check["outcome"]] += 1
    for name, counts in groups.items():
        lines.append(f"  {name}: " + ", ".join(f"{number} {outcome}" for outcome, number in counts.items()))
    lines += ["", "What checks counted and measured"]
    for check in checks:
        measured = ", ".join(f"{name} {value}" for name, value in check.get("measured", {}).items())
        if measured:
            lines.append(f"  {check['outcome']:10} {check['check']}: {measured}")
    for title, outcomes in {"Not right": ("failed", "unfinished"), "Skipped": ("skipped",)}.items():
        found = [f"  {one['check']}: {one.get('reason', '')}" for one in checks if one["outcome"] in outcomes]
        lines += ["", title, *(found or ["  none"])]
    return lines


def text_of(results: dict[str, Any]) -> str:
    """The whole as plain text."""
    lines = [f"arraybridge on a GPU: {results['outcome']}", "", *machine_lines(results["machine"])]
    if "reason" in results["machine"]:
        return "\n".join(lines) + "\n"
    lines += [f"missing: {row['name']}, {row.get('what', '')}" for row in results["missing"]]
    lines += ["", "Steps"]
    for row in results["steps"]:
        lines.append(
            f"  {row['outcome']:10} {row['name']} {row.get('seconds', '')} s  {row.get('detail', '')}".rstrip()
        )
    lines += ["", "Checks", *check_lines(results["checks"]), "", "Ratios"]
    for row in results["ratios"]:
        verdict = "met" if row["met"] else "MISSED"
        lines.append(f"  {verdict:7} {row['name']}: {row['value']:.3g} (bar: {row['sense']} {row['bar']:g})")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- writing


def replace(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)


def write(results_folder: Path) -> dict[str, Any]:
    """Both files, from the parts as they stand."""
    results = collect(results_folder / "gpu")
    replace(results_folder / "gpu.json", json.dumps(results, indent=1) + "\n")
    replace(results_folder / "gpu.txt", text_of(results))
    return results


def alive(process: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def main(arguments: list[str]) -> int:
    """Writes once, or for as long as a process lives."""
    folder = Path(arguments[0])
    if len(arguments) == 3 and arguments[1] == "--watch":
        while alive(int(arguments[2])):
            write(folder)
            time.sleep(INTERVAL)
    return 0 if write(folder)["outcome"] in ("passed", "skipped") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
