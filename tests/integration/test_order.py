"""Any order of first use works: each in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain, combinations, permutations
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("order_child.py")
ASKED = ["torch", "tensorflow", "jax", "pyclesperanto"]
ORDERS = [",".join(order) for order in permutations(ASKED)]
USERS = [",".join(names) for names in chain.from_iterable(combinations(ASKED[:3], count) for count in range(1, 4))]
SAMPLED = [ORDERS[place] for place in (0, 5, 9, 14, 18, 23)]
"""Two that begin with pyclesperanto, and one or two with each other framework."""

QUICK = [("", order) for order in (ORDERS[0], ORDERS[9], ORDERS[23])] + [("tensorflow", ORDERS[18])] + [
    ("torch,tensorflow,jax", ORDERS[23])]
PREPARED = ["", "tensorflow", "torch,tensorflow,jax"]
CASES = [("", order) for order in ORDERS] + [(user, order) for user in USERS for order in SAMPLED]
CASES.append(("jax,tensorflow,torch", ORDERS[23]))  # all three the other way round


def marked(user: str, order: str) -> object:
    mark = () if (user, order) in QUICK else pytest.mark.slow
    name = f"{user.replace(',', '+') or 'nothing'}-then-{order.replace(',', '+')}"
    return pytest.param([user, order], id=name, marks=mark)


def check(arguments: list[str]) -> None:
    call = [sys.executable, str(CHILD), *arguments]
    done = subprocess.run(call, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert json.loads(done.stdout.splitlines()[-1]) == {"problems": []}


@pytest.mark.parametrize("arguments", [marked(user, order) for user, order in CASES])
def test_any_order_works(arguments: list[str]) -> None:
    check(arguments)


@pytest.mark.parametrize("arguments", [["--prepare-then-user-cle", user, ORDERS[0]] for user in PREPARED])
def test_the_users_own_pyclesperanto_works_after_prepare(arguments: list[str]) -> None:
    check(arguments)
