"""What of the process changes when arraybridge is imported and used: printed as JSON, in a fresh process.

    environment_child.py import        what importing the package changes
    environment_child.py FRAMEWORK     what asking it for a framework changes that the framework's own import does not
    environment_child.py settings      what conversions among all change, once all are imported and set by the user
"""

from __future__ import annotations

import json
import locale
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

FRAMEWORKS = ["numpy", "torch", "tensorflow", "jax", "pyclesperanto"]


def state() -> dict[str, Any]:
    """Everything of a process that somebody else may rely on."""
    umask = os.umask(0o22)
    os.umask(umask)
    return {
        "environment": dict(os.environ),
        "real environment": Path("/proc/self/environ").read_bytes().hex(),
        "working folder": os.getcwd(),
        "umask": umask,
        "locale": [locale.setlocale(kind) for kind in (locale.LC_ALL, locale.LC_NUMERIC, locale.LC_CTYPE)],
        "number format": f"{1.5:n}",
        "time zone": time.tzname,
        "signals": {number: repr(signal.getsignal(number)) for number in signal.valid_signals()},
        "blocked signals": sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "kernel's signals": [
            line for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith(("SigIgn", "SigCgt", "SigBlk"))
        ],
        "warning filters": [repr(rule) for rule in warnings.filters],
        "warning function": repr(warnings.showwarning),
        "limits": {
            name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")
        },
        "hooks": [repr(hook) for hook in (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook,
                                          sys.gettrace(), sys.getprofile())],
        "recursion limit": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "search path": list(sys.path),
        "import hooks": [re.sub(" at 0x[0-9a-f]+", "", repr(hook)) for hook in (*sys.meta_path, *sys.path_hooks)],
        "affinity": sorted(os.sched_getaffinity(0)),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
        "dlopen flags": sys.getdlopenflags(),
        "rounding": rounding(),
    }  # fmt: skip


def rounding() -> list[Any]:
    """Rounding direction and flushing of subnormal numbers, as arithmetic shows them."""
    tiny = 5e-324
    return [tiny / 2 == 0, tiny != 0, 1 + 2.0**-53 == 1.0, -1 - 2.0**-53 == -1.0]


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What differs, as plain values."""
    return {name: [before[name], after[name]] for name in before if before[name] != after[name]}


def on_import() -> dict[str, Any]:
    before, modules, threads = state(), set(sys.modules), threading.active_count()
    import arraybridge

    arraybridge.options.get("threads")
    found = changes(before, state())
    new = sorted({name.partition(".")[0] for name in set(sys.modules) - modules})
    return {
        "changes": found,
        "frameworks": [name for name in new if name in (*FRAMEWORKS, "cupy", "rich", "dataclasses", "ml_dtypes")],
        "threads": threading.active_count() - threads,
    }


def framework_alone(name: str) -> dict[str, Any]:
    """What the framework's own import changes: not ours to answer for."""
    before = state()
    if name == "pyclesperanto":
        import pyclesperanto as cle

        cle.select_device()
    elif name == "tensorflow":
        import tensorflow as tf

        tf.constant(1.0)
    elif name == "jax":
        import jax

        jax.devices()
    else:
        __import__(name)
    return {"changes": changes(before, state()), "modules": packages()}


def packages() -> list[str]:
    return sorted({name.partition(".")[0] for name in sys.modules})


def through_us(name: str) -> dict[str, Any]:
    """The same through arraybridge."""
    before = state()
    import arraybridge

    arraybridge.list_devices(name)
    if name == "numpy":
        import numpy as np

        arraybridge.convert(np.zeros((3, 4), np.float32)[::-1], "numpy", copy=True)
    return {"changes": changes(before, state()), "modules": packages()}


def settings_of_all() -> dict[str, Callable[[], Any]]:
    """The settings of each framework that conversions could be tempted to touch."""
    import jax
    import numpy as np
    import tensorflow as tf
    import torch

    return {
        "numpy print options": lambda: {k: repr(v) for k, v in np.get_printoptions().items()},
        "numpy errors": lambda: [np.geterr(), repr(np.geterrcall()), np.getbufsize()],
        "numpy text": lambda: repr(np.array([1 / 3, 1e-20], np.float32)),
        "torch threads": lambda: [torch.get_num_threads(), torch.get_num_interop_threads()],
        "torch modes": lambda: [torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
                                torch.are_deterministic_algorithms_enabled(),
                                str(torch.get_default_dtype()), str(torch.get_default_device()),
                                torch.get_float32_matmul_precision(),
                                torch.is_warn_always_enabled(), torch.is_anomaly_enabled()],
        "torch text": lambda: repr(torch.tensor([1 / 3, 1e-20])),
        "torch random": lambda: torch.initial_seed(),
        "torch random state": lambda: torch.get_rng_state().numpy().tobytes().hex()[:200],
        "numpy random state": lambda: repr(np.random.get_state())[:300],
        "jax settings": lambda: {name: repr(value) for name, value in jax.config.values.items()},
        "jax default": lambda: [repr(jax.config.jax_default_device), repr(jax.config.jax_enable_x64),
                                jax.default_backend()],
        "jax types": lambda: str(jax.numpy.arange(3.0).dtype),
        "tensorflow threads": lambda: [tf.config.threading.get_intra_op_parallelism_threads(),
                                       tf.config.threading.get_inter_op_parallelism_threads()],
        "tensorflow modes": lambda: [tf.executing_eagerly(), tf.config.get_soft_device_placement(),
                                     tf.config.optimizer.get_jit(),
                                     repr(tf.config.get_visible_devices())],
        "tensorflow log": lambda: tf.get_logger().level,
        "cle settings": cle_settings,
    }  # fmt: skip


def cle_settings() -> list[str]:
    import pyclesperanto as cle

    return [str(cle.get_device()), repr(getattr(cle, "wait_for_kernel_finish", None))]


def on_conversions() -> dict[str, Any]:
    """The user has settings of their own; conversions among all frameworks, failing ones too, leave them alone."""
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "false"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "true"
    import arraybridge

    arraybridge.prepare()
    import jax
    import numpy as np
    import pyclesperanto as cle
    import tensorflow as tf
    import torch

    np.set_printoptions(precision=3, suppress=True)
    np.seterr(all="raise")
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    torch.set_printoptions(precision=2)
    torch.set_default_dtype(torch.float64)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.umask(0o77)
    tf.constant(1.0), jax.numpy.arange(3), cle.push(np.ones((2, 2), np.float32)), torch.ones(2)
    readers = settings_of_all()
    before = {**state(), **{name: read() for name, read in readers.items()}}
    convert_all(arraybridge, np)
    after = {**state(), **{name: read() for name, read in readers.items()}}
    return {"changes": changes(before, after)}


def convert_all(arraybridge: Any, np: Any) -> None:
    values = np.arange(600_000, dtype=np.float32).reshape(3, 400, 500)
    for dtype in ("float32", "float64", "int64", "uint8", "complex128"):
        for value in (values.astype(dtype), values.astype(dtype)[::-1], np.full((3, 4), np.inf).astype("f4")):
            for source in FRAMEWORKS:
                for target in FRAMEWORKS:
                    for keywords in ({}, {"copy": True}, {"dtype": "float16", "casting": "unsafe"}, {"copy": False}):
                        try:
                            arraybridge.convert(arraybridge.convert(value, source), target, **keywords)
                        except arraybridge.MemoryConversionError:
                            pass


def main(what: str) -> None:
    calls: dict[str, Callable[[], dict[str, Any]]] = {"import": on_import, "settings": on_conversions}
    if what in calls:
        print(json.dumps(calls[what]()))
        return
    if what.startswith("alone-"):
        print(json.dumps(framework_alone(what.removeprefix("alone-"))))
        return
    alone = subprocess.run([sys.executable, __file__, f"alone-{what}"], capture_output=True, text=True, check=True)
    print(json.dumps({"alone": json.loads(alone.stdout.splitlines()[-1]), "ours": through_us(what)}))


if __name__ == "__main__":
    main(sys.argv[1])
