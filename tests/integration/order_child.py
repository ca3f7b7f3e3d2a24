"""One order of first use in a fresh process: the user's imports, then arraybridge asked for each framework in turn.

    order_child.py [--prepare-then-user-cle] USER,USER,… FIRST,SECOND,THIRD,FOURTH
"""

from __future__ import annotations

import importlib
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
VALUES = [[1.0, -2.0, 3.5], [4.0, 5.0, -0.0]]


def first_uses(order: list[str], arraybridge: object) -> dict[str, object]:
    """Asks arraybridge for each framework, in that order: the framework is imported by it."""
    import numpy as np

    source = np.array(VALUES, np.float32)
    return {name: arraybridge.convert(source, name) for name in order}  # type: ignore[attr-defined]


def check_all_pairs(arrays: dict[str, object]) -> list[str]:
    """Every array to every framework; read by the framework itself."""
    import arraybridge
    import numpy as np
    from frameworks import NAMES, READ, raw

    expected = "float32", (2, 3), raw(np.array(VALUES, np.float32))
    problems = []
    for source, array in {**arrays, "numpy": np.array(VALUES, np.float32)}.items():
        for target in NAMES:
            if READ[target](arraybridge.convert(array, target)) != expected:
                problems.append(f"{source} -> {target}")
    return problems


def check_work(arrays: dict[str, object]) -> list[str]:
    """A kernel of each: the vendor library or compiler that was disturbed fails here at the latest."""
    import numpy as np
    import pyclesperanto as cle
    import tensorflow as tf
    import torch

    added = cle.pull(cle.add_image_and_scalar(arrays["pyclesperanto"], scalar=1))
    problems = [] if np.array_equal(added, np.array(VALUES, np.float32) + 1) else ["a pyclesperanto kernel"]
    wide = np.random.default_rng(0).random((16, 16), dtype=np.float32)
    blurred = cle.pull(cle.gaussian_blur(cle.push(wide), sigma_x=1, sigma_y=1))
    if not 0 < blurred.std() < wide.std():
        problems.append("a pyclesperanto blur")
    sums = {
        "torch": float(torch.as_tensor(arrays["torch"]).sum()),
        "tensorflow": float(tf.reduce_sum(arrays["tensorflow"])),
        "jax": float(arrays["jax"].sum()),  # type: ignore[attr-defined]
    }
    return problems + [f"a sum of {name}: {value}" for name, value in sums.items() if value != 11.5]


def main(user: list[str], order: list[str], own_cle: bool) -> None:
    import_user = [*user]
    if own_cle:
        import arraybridge

        arraybridge.prepare()
    for name in import_user:
        importlib.import_module(name)
    if own_cle:
        cle = importlib.import_module("pyclesperanto")
        cle.pull(cle.add_image_and_scalar(cle.push(importlib.import_module("numpy").ones((3, 3), "f4")), scalar=1))
    import arraybridge

    arrays = first_uses(order, arraybridge)
    # Only now: it calls prepare(), which must not be what makes the order work.
    problems = check_work(arrays) + check_all_pairs(arrays)
    print(json.dumps({"problems": problems}))


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    main([name for name in words[-2].split(",") if name], words[-1].split(","), words[0].startswith("--prepare"))
