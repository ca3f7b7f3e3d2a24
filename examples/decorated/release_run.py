# SPDX-License-Identifier: MIT
"""Runs the steps on one release of arraybridge: on this one here, on an older one in a process of its own.

The older decorators convert nothing. There each array goes to its framework with that framework's own call, which keeps
dtype and values: what differs afterwards is the doing of the decorators.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sample_images import Sample, load, three_labels


@dataclass(frozen=True)
class Outcome:
    """What came out for one sample, in NumPy arrays."""

    blurred: NDArray[Any]
    smoothed: NDArray[Any]
    grown: NDArray[Any]
    three_grown: NDArray[Any]  # of the three labels that sample_images.three_labels cuts out
    means: NDArray[Any]  # of the smoothed image; one an object, labels from 1 on, those that do not occur too
    volumes: NDArray[Any]  # voxels


@dataclass(frozen=True)
class Release:
    """One release and what came out of it, sample by sample."""

    version: str
    outcomes: dict[str, Outcome]


def given(array: Any, framework: str) -> Any:
    """Leave an array as it is: the decorators convert."""
    del framework
    return array


def given_by_hand(array: Any, framework: str) -> Any:
    """Move an array with the framework's own call."""
    import jax.numpy as jnp
    import pyclesperanto as cle
    import torch

    if framework == "torch":
        return torch.from_numpy(array)
    return cle.push(array) if framework == "pyclesperanto" else jnp.asarray(np.asarray(array))


def brought_back(array: Any) -> NDArray[Any]:
    """Bring a result back to NumPy, by this release."""
    import arraybridge

    return arraybridge.convert(array, "numpy")


def brought_back_by_hand(array: Any) -> NDArray[Any]:
    """Bring a result back to NumPy with its framework's own call."""
    import pyclesperanto as cle

    return cle.pull(array) if isinstance(array, cle.Array) else np.asarray(array)


def run_sample(sample: Sample, *, by_hand: bool) -> Outcome:
    """Run all steps: the image blurred, the image smoothed and that measured, the labels grown."""
    import decorated_steps as steps

    give, back = (given_by_hand, brought_back_by_hand) if by_hand else (given, brought_back)
    smoothed = steps.smooth(give(sample.image, "torch"))
    means, volumes = steps.measure(give(smoothed, "jax"), give(sample.labels, "jax"))
    return Outcome(
        blurred=back(steps.blur(give(sample.image, "pyclesperanto"))),
        smoothed=back(smoothed),
        grown=back(steps.grow(give(sample.labels, "torch"))),
        three_grown=back(steps.grow(give(three_labels(sample.labels), "torch"))),
        means=back(means),
        volumes=back(volumes),
    )


def run_here(samples: list[Sample], *, by_hand: bool = False) -> Release:
    """Run all samples on the arraybridge that this process finds."""
    from importlib.metadata import version

    import arraybridge

    outcomes = {sample.name: run_sample(sample, by_hand=by_hand) for sample in samples}
    return Release(version("arraybridge") if by_hand else arraybridge.__version__, outcomes)


def run_older(images: Path, peer: Path) -> Release:
    """Run all samples on the release in the folder ``peer``, as ``pip install --target`` leaves it."""
    if not (peer / "arraybridge" / "__init__.py").exists():
        raise SystemExit(f"there is no arraybridge in {peer}: pip install --target {peer} arraybridge==0.5.2")
    child_environment = {key: value for key, value in os.environ.items() if not key.startswith("ARRAYBRIDGE_")}
    path = [str(peer.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
    child_environment["PYTHONPATH"] = os.pathsep.join(path)
    with TemporaryDirectory() as folder:
        result = Path(folder, "result")
        command = [sys.executable, __file__, str(images), str(result), str(peer.resolve())]
        done = subprocess.run(command, env=child_environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the release in {peer} failed:\n{done.stderr[-2000:]}")
        version, outcomes = pickle.loads(result.read_bytes())
    return Release(version, {name: Outcome(**arrays) for name, arrays in outcomes.items()})


def main() -> None:
    """Be the process of the older release."""
    images, result, peer = map(Path, sys.argv[1:4])
    import arraybridge

    if peer not in Path(arraybridge.__file__).resolve().parents:
        raise SystemExit(f"{arraybridge.__file__} was found instead of the release in {peer}")
    release = run_here(load(images), by_hand=True)
    outcomes = {name: vars(outcome) for name, outcome in release.outcomes.items()}
    result.write_bytes(pickle.dumps((release.version, outcomes)))


if __name__ == "__main__":
    main()
