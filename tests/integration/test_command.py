"""The command ``arraybridge``: what it answers, its exit codes, and that nothing takes it down."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from arraybridge.command import clash, matrix
from arraybridge.command.children import Outcome
from arraybridge.command.doctor import judge_frameworks, judge_plugins
from arraybridge.command.environment import judge_environment
from arraybridge.command.new_plugin import renamed
from arraybridge.command.plan import parse_shape

COMMAND = [sys.executable, "-m", "arraybridge"]
FRAMEWORKS = ("numpy", "torch", "tensorflow", "jax", "cupy", "pyclesperanto")


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=variables, timeout=300)


def answer(*arguments: str, code: int = 0, **environment: str) -> Any:
    done = call(*arguments, "--json", **environment)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def with_path_before(folder: Path) -> str:
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


def findings(found: dict[str, Any], severity: str, word: str) -> list[dict[str, str]]:
    return [one for one in found["findings"] if one["severity"] == severity and word in one["subject"] + one["text"]]


@pytest.fixture
def hostile_frameworks(tmp_path: Path) -> str:
    """A PYTHONPATH on which torch aborts, jax hangs and TensorFlow cannot be imported."""
    bodies = {
        "torch": "import os; os.abort()",
        "jax": "import time; time.sleep(600)",
        "tensorflow": "raise ImportError('libmissing.so: cannot open shared object file')",
    }
    for name, body in bodies.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(body)
    return with_path_before(tmp_path)


# ---------------------------------------------------------------- importing, help, usage


def test_importing_the_command_imports_no_framework_and_no_rich() -> None:
    code = f"import sys, arraybridge.command; print(sorted({{*{FRAMEWORKS!r}, 'rich'}} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("name", ["info", "matrix", "plan", "doctor", "new-plugin", "paths"])
def test_help_of_each_subcommand_has_examples(name: str) -> None:
    done = call(name, "--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout and "--json" in done.stdout


def test_version_names_arraybridge() -> None:
    done = call("--version")
    assert done.returncode == 0 and re.match(r"arraybridge \d+\.\d+", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["plam"], "did you mean plan"),
        (["plan", "numpy"], "TO"),
        (["plan", "numpy", "tourch"], "did you mean torch"),
        (["plan", "numpy", "numpy", "--shape", "3,-1"], "3,-1"),
        (["plan", "numpy", "numpy", "--dtype", "float33"], "did you mean float32"),
        (["matrix", "--pairs", "numpy"], "no pair"),
        (["matrix", "--pairs", "nump:numpy"], "did you mean numpy"),
        (["new-plugin", "Ring"], '"ring" would do'),
        (["new-plugin", "numpy"], "already"),
        (["doctor", "--quickly"], "--quickly"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_says_what_would_work(arguments: list[str], said: str) -> None:
    done = call(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_usage_under_json_is_json() -> None:
    assert "tourch" in answer("plan", "numpy", "tourch", code=2)["error"]["reason"]


def test_a_reader_that_leaves_early_causes_no_traceback() -> None:
    shell = f"{sys.executable} -m arraybridge doctor --fast | head -n 1"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, timeout=60)
    assert "Plugins" in done.stdout and "Traceback" not in done.stderr


# ---------------------------------------------------------------- info


def test_info_without_devices_has_its_keys() -> None:
    found = answer("info", "--no-devices")
    assert {"arraybridge", "contract", "python", "implementation", "platform"} <= found["versions"].keys()
    numpy = next(one for one in found["backends"] if one["name"] == "numpy")
    keys = {"name", "version", "path", "installed", "imported", "framework_version", "detail", "probed", "python",
            "devices", "problem"}  # fmt: skip
    assert keys <= numpy.keys()
    assert numpy["installed"] and not numpy["imported"] and numpy["devices"] is None


def test_frameworks_that_die_hang_or_break_are_lines_of_info(hostile_frameworks: str) -> None:
    found = answer("info", "--timeout", "8", PYTHONPATH=hostile_frameworks)
    backends = {one["name"]: one for one in found["backends"]}
    assert "SIGABRT" in backends["torch"]["problem"]
    assert "no answer for 8 s" in backends["jax"]["problem"]
    assert "libmissing.so" in backends["tensorflow"]["problem"]
    assert backends["numpy"]["devices"][0]["device"] == "cpu:0" and backends["numpy"]["problem"] == ""


# ---------------------------------------------------------------- plan


def test_plan_has_its_keys_and_shares() -> None:
    pytest.importorskip("torch")
    found = answer("plan", "numpy", "torch", "--dtype", "float64", "--shape", "3,8,8")
    assert found.keys() == {"array", "plan", "error"}
    assert found["error"] is None
    assert found["array"]["shape"] == [3, 8, 8] and found["array"]["dtype"] == "float64"
    assert found["plan"]["possible"] and found["plan"]["shared"] and found["plan"]["bytes_copied"] == 0
    assert {"way", "refused", "copies", "bytes", "reason"} <= found["plan"]["steps"][0].keys()


def test_plan_that_would_be_an_error_is_exit_code_1_with_the_hint() -> None:
    pytest.importorskip("torch")
    arguments = ("plan", "numpy", "torch", "--layout", "negative", "--copy", "never")
    found = answer(*arguments, code=1)
    assert found["error"]["status"] == "WOULD_COPY" and "negative" in found["error"]["reason"]
    shown = call(*arguments)
    assert shown.returncode == 1 and "not possible" in shown.stdout and "to do" in shown.stdout


@pytest.mark.parametrize("layout", ["c", "fortran", "negative", "byteswapped", "readonly", "misaligned"])
def test_plan_makes_the_layout_asked_for(layout: str) -> None:
    array = answer("plan", "numpy", "numpy", "--layout", layout, "--shape", "4,6")["array"]
    assert array["strides"] == {"fortran": [4, 16], "negative": [24, -4]}.get(layout, [24, 4])
    assert array["byte_swapped"] is (layout == "byteswapped")
    assert array["mutability"] == ("read-only" if layout == "readonly" else "writable")


@pytest.mark.parametrize(("text", "shape"), [("3,4", (3, 4)), ("3x4", (3, 4)), ("7", (7,)), ("", ()), ("0,2", (0, 2))])
def test_shapes_are_read(text: str, shape: tuple[int, ...]) -> None:
    assert parse_shape(text) == shape


# ---------------------------------------------------------------- matrix


def test_matrix_measures_the_pairs_asked_for() -> None:
    pytest.importorskip("torch")
    found = answer("matrix", "--quick", "--pairs", "numpy:torch,torch:numpy", "--pairs", "numpy:numpy")
    assert found["large_bytes"] == 4 << 20
    pairs = {(one["source"], one["target"]): one for one in found["pairs"]}
    assert pairs.keys() == {("numpy", "torch"), ("torch", "numpy"), ("numpy", "numpy")}
    assert pairs["numpy", "numpy"]["state"] == "same"
    for pair in (("numpy", "torch"), ("torch", "numpy")):
        one = pairs[pair]
        assert one["state"] == "shared" and one["route"] == "exchange" and one["bytes_copied"] == 0
        assert 0 < one["small_seconds"] < 1 and 0 < one["large_seconds"] < 1


def test_matrix_goes_on_without_a_framework_that_dies(hostile_frameworks: str) -> None:
    pairs = "numpy:torch,numpy:numpy"
    found = answer("matrix", "--quick", "--pairs", pairs, PYTHONPATH=hostile_frameworks)
    broken = {one["name"]: one["error"] for one in found["frameworks"]}
    assert "SIGABRT" in broken["torch"] and broken["numpy"] == ""
    assert [(one["source"], one["target"]) for one in found["pairs"]] == [("numpy", "numpy")]


def test_matrix_blames_a_death_on_the_pair_that_was_measured() -> None:
    work = matrix._Measuring([("a", "b"), ("b", "a")], lambda doing, done: None)
    work.heed({"measuring": {"source": "a", "target": "b"}})
    assert work.bury("died of SIGSEGV")
    assert work.left == [("b", "a")]
    assert work.results[0]["state"] == "died" and work.results[0]["reason"] == "died of SIGSEGV"
    assert not work.bury("died of SIGSEGV")  # nothing new was begun: going on would never end


# ---------------------------------------------------------------- doctor


def test_doctor_fast_has_its_keys() -> None:
    found = answer("doctor", "--fast", ARRAYBRIDGE_PLUGIN_PATH="")
    assert found.keys() == {"problems", "notes", "findings"}
    assert all(one.keys() == {"section", "severity", "subject", "text", "advice"} for one in found["findings"])
    sections = {one["section"] for one in found["findings"]}
    assert sections == {"plugins", "frameworks", "clashes", "environment", "library"}


def test_doctor_names_a_text_file_that_is_called_like_a_plugin(tmp_path: Path) -> None:
    (tmp_path / "arraybridge_broken.so").write_text("not a library")
    found = answer("doctor", "--fast", code=1, ARRAYBRIDGE_PLUGIN_PATH=str(tmp_path))
    (broken,) = findings(found, "problem", "arraybridge_broken.so")
    assert "not a shared library" in broken["text"] and broken["advice"]
    assert found["problems"] == 1


def test_doctor_names_a_world_writable_folder_once(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    (folder / "arraybridge_any.so").write_text("")
    folder.chmod(0o777)
    found = answer("doctor", "--fast", code=1, ARRAYBRIDGE_PLUGIN_PATH=str(folder))
    (refused,) = findings(found, "problem", str(folder))
    assert "0777" in refused["text"] and "chmod o-w" in refused["advice"]


def test_doctor_names_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    found = answer("doctor", "--fast", code=1, ARRAYBRIDGE_PLUGIN_PATH=missing)
    assert findings(found, "problem", missing)


def test_doctor_survives_frameworks_that_die_or_hang(hostile_frameworks: str) -> None:
    found = answer("doctor", "--timeout", "8", code=1, PYTHONPATH=hostile_frameworks)
    frameworks = {one["subject"]: one for one in found["findings"] if one["section"] == "frameworks"}
    assert frameworks["torch"]["severity"] == "problem" and "SIGABRT" in frameworks["torch"]["text"]
    assert frameworks["jax"]["severity"] == "problem" and "no answer" in frameworks["jax"]["text"]
    assert "libmissing.so" in frameworks["tensorflow"]["text"]
    assert frameworks["numpy"]["severity"] == "ok"


@pytest.mark.slow
def test_doctor_starts_everything_alone_and_together() -> None:
    """The one test here that imports TensorFlow."""
    found = json.loads(call("doctor", "--json").stdout)
    frameworks = {one["subject"]: one for one in found["findings"] if one["section"] == "frameworks"}
    assert frameworks["numpy"]["severity"] == "ok" and "starts in" in frameworks["numpy"]["text"]
    (together,) = [one for one in found["findings"] if one["subject"] == "all in one process"]
    assert together["severity"] == "ok"
    started = [name for name, one in frameworks.items() if "starts in" in one["text"]]
    assert all(name in together["text"] for name in started)


def plugin_row(**values: str) -> dict[str, str]:
    empty = {"status": "OK", "path": "/p/x.so", "place": "user", "name": "", "version": "", "reason": "", "hint": ""}
    return {**empty, **values}


def test_a_second_plugin_of_one_name_is_a_note() -> None:
    rows = [plugin_row(name="ring"), plugin_row(path="/q/x.so", status="UNSUPPORTED", reason="already provided by")]
    assert [one.severity for one in judge_plugins(rows)] == ["ok", "note"]


def test_no_plugin_at_all_is_a_problem() -> None:
    assert [one.severity for one in judge_plugins([])] == ["problem"]


def backend_row(**values: Any) -> dict[str, Any]:
    known = {"name": "ring", "installed": True, "framework_version": "1.0", "detail": "", "probed": "OK"}
    return {**known, "python": True, **values}


@pytest.mark.parametrize(("status", "severity"), [("NO_DEVICE", "note"), ("FRAMEWORK", "problem")])
def test_a_framework_without_its_hardware_is_no_fault(status: str, severity: str) -> None:
    error = {"status": status, "reason": "no GPU", "hint": "buy one", "cause": ""}
    found = judge_frameworks([backend_row()], {"ring": Outcome([{"error": error}], "", "")})
    assert (found[0].severity, found[0].advice) == (severity, "buy one")


# ---------------------------------------------------------------- clashes and variables


def test_two_openmp_runtimes_are_a_note_and_two_of_llvm_a_problem() -> None:
    gomp, intel, llvm = "/a/libgomp-a34b3233.so.1", "/b/libiomp5.so", "/c/libomp.so.5"
    users = clash.loaded_openmp({"torch": [gomp, "/x/libother.so"], "mkl": [intel], "jax": [gomp]})
    assert users == {gomp: ["torch", "jax"], intel: ["mkl"]}
    assert clash.judge_openmp(users, certain=True).severity == "note"
    assert clash.judge_openmp({gomp: ["torch"]}, certain=True).severity == "ok"
    assert clash.judge_openmp({intel: ["mkl"], llvm: ["x"]}, certain=True).severity == "problem"


VENDOR = {"path": "/etc/OpenCL/vendors/pocl.icd", "library": "libpocl.so.2", "loaded": True, "isolated": True}


@pytest.mark.parametrize(
    ("vendor", "libraries", "tensorflow", "severity"),
    [
        (VENDOR, ["/usr/lib/libLLVM-14.so.1"], True, "note"),
        (VENDOR, [], True, "ok"),
        (VENDOR, None, False, "ok"),
        ({**VENDOR, "loaded": False}, [], True, "problem"),
        ({**VENDOR, "library": ""}, [], True, "problem"),
    ],
)
def test_opencl_drivers_are_judged(
    vendor: dict[str, Any], libraries: list[str] | None, tensorflow: bool, severity: str
) -> None:
    (found,) = clash.judge_opencl([vendor], libraries, tensorflow, True)
    assert found.severity == severity
    assert ("arraybridge.prepare()" in found.advice) is (severity == "note")


def test_pyclesperanto_without_a_driver_is_a_problem() -> None:
    assert clash.judge_opencl([], None, False, True)[0].severity == "problem"
    assert clash.judge_opencl([], None, False, False)[0].severity == "ok"


@pytest.mark.parametrize(
    ("variables", "severity", "word"),
    [
        ({"TF_FORCE_GPU_ALLOW_GROWTH": "false"}, "note", "GPU memory"),
        ({"TF_FORCE_GPU_ALLOW_GROWTH": "true"}, "ok", "as it needs"),
        ({"ARRAYBRIDGE_TRUST_WRITABLE": "1"}, "note", "others may write"),
        ({"ARRAYBRIDGE_PLUGINS_PATH": "/x"}, "note", "no such variable"),
        ({}, "ok", "not set"),
    ],
)
def test_variables_are_judged(variables: dict[str, str], severity: str, word: str) -> None:
    assert any(one.severity == severity and word in one.text for one in judge_environment(variables))


# ---------------------------------------------------------------- paths, new-plugin


def test_paths_name_folders_that_exist() -> None:
    found = answer("paths")
    assert found.keys() == {"include", "cmake", "plugins", "library", "template", "guide"}
    assert (Path(found["include"]) / "arraybridge" / "plugin.h").exists()
    assert list(Path(found["plugins"]).glob("arraybridge_*.so"))
    assert call("paths", "--include").stdout == found["include"] + "\n"


def test_a_path_that_there_is_not_is_exit_code_1_and_nothing_on_stdout() -> None:
    if answer("paths")["cmake"]:
        pytest.skip("an installation has them all")
    done = call("paths", "--cmake")
    assert done.returncode == 1 and done.stdout == "" and "cmake --install" in done.stderr


def test_new_plugin_copies_the_template_under_the_name(tmp_path: Path) -> None:
    folder = tmp_path / "ring"
    found = answer("new-plugin", "ring", "--into", str(folder))
    assert found.keys() == {"name", "folder", "files", "commands"} and len(found["commands"]) == 3
    source = (folder / "ring_plugin.c").read_text()
    assert '.name = "ring"' in source and 'abpy_type("array", "array")' in source
    assert "NAME ring SOURCES ring_plugin.c" in (folder / "CMakeLists.txt").read_text()
    assert "array_plugin" not in "".join(Path(file).read_text() for file in found["files"])
    assert call("new-plugin", "ring", "--into", str(folder)).returncode == 1  # not empty any more


def test_the_template_has_every_place_that_is_renamed() -> None:
    folder = Path(answer("paths")["template"])
    for file, expected in (("CMakeLists.txt", 2), ("array_plugin.c", 1), ("README.md", 2)):
        text = (folder / file).read_text()
        changed = [line for line in text.splitlines() if renamed(line, "ring") != line]
        assert len(changed) >= expected, file


# ---------------------------------------------------------------- how it looks


def on_terminal(columns: int, *arguments: str) -> list[str]:
    """The lines that the command writes to a terminal of that width, without colours."""
    ours, theirs = pty.openpty()
    variables = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=theirs, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=variables
    )
    os.close(theirs)
    written = b""
    try:
        while block := os.read(ours, 1 << 16):
            written += block
    except OSError:  # Linux says EIO when the other end is closed
        pass
    process.wait(60)
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode()).splitlines()


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("arguments", [("doctor", "--fast"), ("info", "--no-devices"), ("plan", "numpy", "numpy")])
def test_tables_fit_the_terminal_and_cut_nothing_off(columns: int, arguments: tuple[str, ...]) -> None:
    lines = on_terminal(columns, *arguments)
    assert lines and max(len(line) for line in lines) <= columns
    assert not any("…" in line for line in lines)


def test_piped_output_has_no_colours_and_no_trailing_spaces() -> None:
    shown = call("doctor", "--fast").stdout
    assert "\x1b" not in shown and "…" not in shown
    assert not any(line != line.rstrip() for line in shown.splitlines())


# ---------------------------------------------------------------- machines with little on them


def bare(folder: Path, *modules: str) -> list[str]:
    """A Python that has rich and `modules`, and no framework else: what stands before `plan` and the like."""
    import importlib.util

    for name in ("rich", "markdown_it", "mdurl", "pygments", *modules):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None, name
        home = Path(spec.origin).parent
        (folder / name).symlink_to(home)
        if (libraries := home.with_name(f"{name}.libs")).is_dir():
            (folder / libraries.name).symlink_to(libraries)
    # -S: without this environment's site-packages; arraybridge comes from where this process has it.
    package = Path(matrix.__file__).parents[2]
    paths = [str(folder), str(package)]
    code = f"import sys; sys.path[:0] = {paths!r}; from arraybridge.command import main; sys.exit(main())"
    return [sys.executable, "-S", "-c", code]


def ask(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, env=environment)


def test_without_any_framework_doctor_says_that_there_is_nothing_to_do(tmp_path: Path) -> None:
    done = ask(bare(tmp_path), "doctor", "--fast", "--json")
    assert done.returncode == 0, done.stderr
    rows = {one["subject"]: one for one in json.loads(done.stdout)["findings"] if one["section"] == "frameworks"}
    assert rows["numpy"]["severity"] == "absent" and rows["numpy"]["text"] == "not installed"
    assert rows["numpy"]["advice"] == "to use it: pip install numpy"
    assert "nothing to convert between yet" in rows["frameworks"]["text"] and rows["frameworks"]["severity"] == "note"


def test_without_numpy_plan_says_how_to_get_it(tmp_path: Path) -> None:
    command = bare(tmp_path)
    done = ask(command, "plan", "numpy", "torch")
    assert done.returncode == 1 and "numpy is not installed" in done.stdout and "pip install numpy" in done.stdout
    assert json.loads(ask(command, "plan", "numpy", "torch", "--json").stdout)["error"]["hint"] == "pip install numpy"


def test_matrix_of_a_framework_that_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    done = ask(bare(tmp_path, "numpy"), "matrix", "--pairs", "numpy:jax")
    assert done.returncode == 1 and "jax is not installed" in done.stderr and "pip install jax" in done.stderr


def test_hints_of_the_command_are_its_options() -> None:
    shown = call("plan", "numpy", "torch", "--shape", "4,8", "--layout", "negative", "--copy", "never").stdout
    assert "to do: pass --copy if-needed" in shown and "copy=" not in shown
    wrong = call("plan", "numpy", "numpy", "--to-dtype", "flaot")
    assert wrong.returncode == 2 and "did you mean" in wrong.stderr and "ValueError" not in wrong.stderr
    assert "did you mean torch" in call("plan", "numpy", "pytorch").stderr


def test_new_plugin_makes_no_parents(tmp_path: Path) -> None:
    done = call("new-plugin", "ring", "--into", str(tmp_path / "a" / "ring"))
    assert done.returncode == 1 and "mkdir -p" in done.stderr and not (tmp_path / "a").exists()
