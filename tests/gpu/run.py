"""Runs the tests of this folder, each file in a process of its own with a limit: `make test-gpu`.

    python3 tests/gpu/run.py [--wheels DIR] [--output FILE] [PYTEST ARGUMENTS]

Takes this Python with its torch (2.11 or newer), torchvision and timm. Other packages come from the folder of wheels
(or the variable WHEELS); benchmarks/gpu_wheels.txt lists them. FILE gets the results as JSON.

Status 0: all tests passed. 1: a test failed, crashed or was not finished. 2: packages are missing. 3: without a GPU the
tests that need none passed; the others are listed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]

# Seconds: together less than nine minutes. What a file leaves of its own is for the files after it.
LIMITS = {
    "test_precision.py": 110,
    "test_memory.py": 100,
    "test_distributed.py": 80,
    "test_serving.py": 70,
    "test_jobs.py": 170,
}
ON_CPU_FACTOR = 30  # a CPU takes longer, and costs less
NO_TESTS = 5  # pytest's status
# What the tests, the jobs that they start and benchmarks/gpu.sh import.
MODULES = ("torch", "torchvision", "timm", "numpy", "scipy", "cv2", "PIL", "safetensors", "tqdm", "jinja2", "packaging")
MODULES += ("typing_extensions", "pydantic", "pydantic_core", "annotated_types", "typing_inspection", "msgspec")
MODULES += ("albumentations", "albucore", "stringzilla", "simsimd", "segmentation_models_pytorch", "torchmetrics")
MODULES += ("lightning_utilities", "psutil", "zlib_ng", "pynvml", "pytest", "pluggy", "iniconfig", "pygments")


@dataclass(frozen=True)
class Step:
    """What became of a file of tests."""

    name: str
    outcome: str
    seconds: float

    @property
    def good(self) -> bool:
        return self.outcome in ("passed", "nothing to run")


def describe(status: int | None, limit: float) -> str:
    """A process's exit status in words; None: it was killed at its limit."""
    if status is None:
        return f"not finished within {limit:.0f} s"
    if status < 0:
        return f"crashed: {signal.Signals(-status).name}"
    return {0: "passed", 1: "failed", NO_TESTS: "nothing to run"}.get(status, f"crashed: pytest ended with {status}")


def run_step(name: str, limit: float, arguments: list[str], environment: dict[str, str]) -> Step:
    print(f"\n== {name}, at most {limit:.0f} s", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-c", str(FOLDER / "pytest.ini"), str(FOLDER / name)]
    started = time.monotonic()
    process = subprocess.Popen([*command, *arguments], cwd=REPOSITORY, env=environment, start_new_session=True)
    try:
        status: int | None = process.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the jobs and servers that it started
        process.wait()
        status = None
    step = Step(name, describe(status, limit), round(time.monotonic() - started, 1))
    print(f"== {step.name}: {step.outcome} in {step.seconds:.1f} s", flush=True)
    return step


def run_steps(arguments: list[str], environment: dict[str, str], factor: float) -> list[Step]:
    """Each file within its limit, times `factor`, and what the files before it left of theirs."""
    steps: list[Step] = []
    left = 0.0
    for name, limit in LIMITS.items():
        left += limit * factor
        steps.append(run_step(name, left, arguments, environment))
        left = max(0.0, left - steps[-1].seconds)
    return steps


def left_out(environment: dict[str, str]) -> list[str]:
    """The tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "gpu", "-c", str(FOLDER / "pytest.ini")]
    found = subprocess.run([*command, str(FOLDER)], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    return [line.strip() for line in found.stdout.splitlines() if "::" in line]


def install(wheels: Path, site: str) -> None:
    files = sorted(map(str, wheels.glob("*.whl")))
    if not files:
        sys.exit(f"{wheels} has no wheels; benchmarks/gpu_wheels.txt lists those that are needed")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-cache-dir",
        "--no-compile",
    ]
    subprocess.run([*pip, "--target", site, *files], check=True)


def missing(environment: dict[str, str]) -> list[str]:
    code = "import importlib.util, sys; print(*(m for m in sys.argv[1:] if importlib.util.find_spec(m) is None))"
    found = subprocess.run(
        [sys.executable, "-c", code, *MODULES], env=environment, capture_output=True, text=True, check=True
    )
    return found.stdout.split()


def has_gpu(environment: dict[str, str]) -> bool:
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, default=os.environ.get("WHEELS") or None)
    parser.add_argument("--output", type=Path)
    options, arguments = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="byoc-gpu-") as site:
        paths = [str(REPOSITORY / name) for name in ("src", "serve", "tests")]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
        if options.wheels:
            install(Path(options.wheels), site)
            paths.append(site)
        environment["PYTHONPATH"] = os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        if lacking := missing(environment):
            print(
                f"missing here: {', '.join(lacking)}; set WHEELS to a folder with the wheels of "
                "benchmarks/gpu_wheels.txt",
                file=sys.stderr,
            )
            return 2
        results = Path(site) / "results.jsonl"
        environment["BYOC_GPU_RESULTS"] = str(results)
        on_gpu = has_gpu(environment)
        if not on_gpu:
            arguments += ["-m", "not gpu"]
        steps = run_steps(arguments, environment, factor=1 if on_gpu else ON_CPU_FACTOR)
        print(f"\n== {sum(step.seconds for step in steps):.0f} s in all")
        for step in steps:
            print(f"{step.name:22} {step.outcome:30} {step.seconds:6.1f} s")
        if options.output:
            tests = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
            content = {"gpu": on_gpu, "steps": [asdict(step) for step in steps], "tests": tests}
            options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        if not all(step.good for step in steps):
            return 1
        if not on_gpu:
            names = left_out(environment)
            print(f"\n== no usable GPU here: {len(names)} tests were left out:", *names, sep="\n   ")
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
