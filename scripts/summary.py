"""Adds up what the test runners left behind and prints one line: N passed, N failed, N skipped.

Usage: summary.py RESULTS. Reads Check's TAP files, ctest's and pytest's JUnit files, and checks.tsv.
Exits 1 if anything failed or if a runner left nothing.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

Count = dict[str, int]


def read_tap(results: Path, count: Count, skips: list[str], failures: list[str]) -> None:
    """Counts each Check test: a line `ok` or `not ok`."""
    for path in sorted(results.glob("tap-*/*.tap")):
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("ok "):
                count["passed"] += 1
            elif line.startswith("not ok "):
                count["failed"] += 1
                failures.append(f"{path.parent.name} {path.stem}: {line}")


def read_ctest(results: Path, count: Count, skips: list[str], failures: list[str]) -> None:
    """Counts executables that were skipped, or that failed without a failing test (a crash in between)."""
    for path in sorted(results.glob("ctest-*.xml")):
        for case in ElementTree.parse(path).iter("testcase"):
            name = f"{path.stem} {case.get('name')}"
            status = case.get("status", "")
            if case.find("skipped") is not None or status == "notrun":
                count["skipped"] += 1
                output = case.findtext("system-out") or ""
                reason = next((line for line in output.splitlines() if "SKIP" in line), "see its log")
                skips.append(f"{name}: {reason.strip()}")
            elif status == "fail" and not any(str(case.get("name")) in failure for failure in failures):
                count["failed"] += 1
                failures.append(f"{name}: the executable failed")


def read_pytest(results: Path, count: Count, skips: list[str], failures: list[str]) -> None:
    """Counts pytest's cases."""
    for path in sorted(results.glob("pytest*.xml")):
        for case in ElementTree.parse(path).iter("testcase"):
            name = f"{case.get('classname')}::{case.get('name')}"
            skipped = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                count["failed"] += 1
                failures.append(name)
            elif skipped is not None:
                count["skipped"] += 1
                skips.append(f"{name}: {skipped.get('message')}")
            else:
                count["passed"] += 1


def read_checks(results: Path, count: Count, skips: list[str], failures: list[str]) -> None:
    """Counts the named checks of test.sh."""
    path = results / "checks.tsv"
    for line in path.read_text().splitlines() if path.exists() else []:
        status, name, *reason = line.split("\t")
        count[status] += 1
        if status == "skipped":
            skips.append(f"{name}: {' '.join(reason)}")
        elif status == "failed":
            failures.append(name)


def main() -> int:
    """Prints the reasons and the sum."""
    results = Path(sys.argv[1])
    count: Count = {"passed": 0, "failed": 0, "skipped": 0}
    skips: list[str] = []
    failures: list[str] = []
    for read in (read_tap, read_ctest, read_pytest, read_checks):
        before = sum(count.values())
        read(results, count, skips, failures)
        if sum(count.values()) == before and read is not read_ctest:
            count["failed"] += 1
            failures.append(f"{read.__name__[5:]}: left no results")
    print()
    for skip in skips:
        print(f"skipped: {skip}")
    for failure in failures:
        print(f"FAILED: {failure}")
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
