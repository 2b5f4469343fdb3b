"""Every check of the project is one session: ``nox -l`` lists them, ``nox -s NAME`` runs one.

Arguments after ``--`` go to the tool, as in ``nox -s 'tests(cpu)' -- tests/ops -x``.
"""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.sessions = ["lint", "types", "layers", "tests"]

GROUPS = nox.project.load_toml("pyproject.toml")
RUNTIMES = ["training", "cpu"]
"""The extras that install a runtime which every machine can run."""

NIGHTLY = {
    # The lower bounds of pyproject.toml. onnxruntime 1.20 is the first with Python 3.13 wheels.
    "oldest": [
        "onnxruntime==1.20.*",
        "numpy==1.24.*; python_version < '3.12'",
        "onnx==1.17.*",
        "onnx-ir==0.1.13",
        "safetensors==0.4.5",
        "networkx==3.0.*",
        "matplotlib==3.7.*",
        "msgspec==0.18.*",
    ],
    "middle": ["onnxruntime==1.23.*"],
    "newest": ["onnxruntime", "--upgrade"],
}

TESTS_OF_FILES = [
    "tests/test_documents.py",
    "tests/documents",
    "tests/test_public_api.py",
    "tests/optimizer",
]
"""Tests that read what an sdist may lack: documents, tools, recorded numbers."""

TESTS_OF_RUNTIME = [
    f"tests/{name}" for name in ("ops", "compiler", "runtime", "engine", "serve", "visualization")
]
"""Tests that fail first if a version of the runtime computes or takes something differently."""


def install_group(session: nox.Session, group: str) -> None:
    """Install a dependency group of pyproject.toml."""
    session.install(*nox.project.dependency_groups(GROUPS, group))


@nox.session
@nox.parametrize("runtime", RUNTIMES, ids=RUNTIMES)
def tests(session: nox.Session, runtime: str) -> None:
    """The tests, without the slow ones, on one runtime."""
    session.install("-e", f".[{runtime},test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
@nox.parametrize("runtime", RUNTIMES, ids=RUNTIMES)
def slow(session: nox.Session, runtime: str) -> None:
    """The slow tests on one runtime."""
    session.install("-e", f".[{runtime},test]")
    session.run("python", "-m", "pytest", "-m", "slow", *session.posargs)


@nox.session
@nox.parametrize("runtime", RUNTIMES, ids=RUNTIMES)
def coverage(session: nox.Session, runtime: str) -> None:
    """The tests in random order, with the lines they cover."""
    session.install("-e", f".[{runtime},test]")
    install_group(session, "coverage")
    options = ["--cov", "--cov-report=term:skip-covered"]
    session.run("python", "-m", "pytest", *options, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: rules and format."""
    install_group(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict."""
    session.install("-e", ".")
    install_group(session, "lint")
    session.run("mypy", *session.posargs)


@nox.session
def layers(session: nox.Session) -> None:
    """Imports run downwards only."""
    session.install("-e", ".")
    install_group(session, "lint")
    session.run("lint-imports", "--no-logo")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into ``site/``; a warning is an error.

    It begins at ``site/docs/index.html``.
    """
    session.install("-e", ".[cpu,serve]")  # the API reference imports the server
    install_group(session, "docs")
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--fresh-env"]
    session.run("sphinx-build", *options, "-c", "docs", ".", "site", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel; run the wheel's command, and tests in the unpacked sdist.

    Which tests: those after ``--``, else the ones that read files beside the package.
    """
    install_group(session, "build")
    folder = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(folder))
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    shutil.unpack_archive(sdist, folder)
    session.install("--force-reinstall", "--no-deps", str(wheel))
    session.install(f"{wheel}[cpu,test]")
    session.chdir(folder)  # where no folder symbucket is in the way of the installed one
    session.run("symbucket", "info")
    session.chdir(folder / sdist.name.removesuffix(".tar.gz"))
    session.run("python", "-m", "pytest", *(session.posargs or TESTS_OF_FILES))


@nox.session
@nox.parametrize("versions", list(NIGHTLY), ids=list(NIGHTLY))
def nightly(session: nox.Session, versions: str) -> None:
    """What meets the runtime, from operators to serving, on an old, a middle and the newest one."""
    session.install(*NIGHTLY[versions], "-e", ".[cpu,test]")
    session.run("python", "-m", "pytest", *(session.posargs or TESTS_OF_RUNTIME))


@nox.session
def fuzz(session: nox.Session) -> None:
    """Every fuzzer for ten minutes, or the seconds after ``--``, from a seed made of the date.

    Then the tests that draw, from the same seed.
    """
    session.install("-e", ".[training,test]")
    seconds = session.posargs or ["600"]
    seed = str(date.today().toordinal() * 100_000)
    options = ["--seed", seed, "--seconds", *seconds]
    session.run("python", "-m", "tests.fuzz", *options)
    session.run("python", "-m", "tests.fuzz", "--convolutions", *options)
    session.run("python", "-m", "tests.fuzz", "--damage", *options)
    session.run("python", "-m", "tests.fuzz.hostile", *options)
    seeds = [f"--seed={seed}", f"--hypothesis-seed={seed}"]
    session.run("python", "-m", "pytest", "-m", "fuzz or hypothesis", *seeds)


@nox.session
def cuda(session: nox.Session) -> None:
    """Models for CUDA on a device that computes nothing; needs gcc, nm and readelf, no GPU."""
    session.install("-e", ".[cuda,test]")
    session.run("python", "-m", "pytest", "tests/fake_cuda", *session.posargs)


@nox.session
def pages(session: nox.Session) -> None:
    """The pictures' pages in headless Chromium, which must be installed with its driver."""
    session.install("-e", ".[cpu,test]")
    install_group(session, "viewtest")
    session.run("python", "-m", "pytest", "-m", "", "tests/visualization", *session.posargs)


@nox.session(name="torch-models")
def torch_models(session: nox.Session) -> None:
    """Train networks of PyTorch here and there, and print the largest differences.

    Then 200 convolutional networks from a seed made of the date, with PyTorch's gradients.
    """
    session.install("-e", ".[cpu,test,torch]")
    install_group(session, "zoo")
    session.run("python", "-m", "tests.pytorch", *session.posargs)
    seed = str(date.today().toordinal() * 100_000)
    options = ["--convolutions", "--ways", "PyTorch", "--networks", "200", "--seed", seed]
    session.run("python", "-m", "tests.fuzz", *options)


@nox.session(name="other-runtimes")
def other_runtimes(session: nox.Session) -> None:
    """Exported networks in onnxruntime, OpenVINO and onnx's reference evaluator."""
    session.install("-e", ".[cpu,test]")
    install_group(session, "openvino")
    session.run("python", "-m", "pytest", "tests/export/test_other_runtimes.py", *session.posargs)


@nox.session(name="onnx-support")
@nox.parametrize("runtime", RUNTIMES, ids=RUNTIMES)
def onnx_support(session: nox.Session, runtime: str) -> None:
    """Run ONNX's own backend tests; on the second runtime, write docs/onnx-support.md."""
    session.install("-e", f".[{runtime},test]")
    report = Path(session.cache_dir) / "onnx-support.json"
    options = ["--json", str(report)]
    if runtime == RUNTIMES[-1]:
        options = ["--page", "docs/onnx-support.md", "--others", str(report)]
    session.run("python", "-m", "tests.conformance.onnx_backend", *options, *session.posargs)


@nox.session
def benchmark(session: nox.Session) -> None:
    """Train a language model with symbucket and with PyTorch, in turns; takes long."""
    session.install("-e", ".[training]")
    install_group(session, "bench")
    session.run("python", "benchmarks/lstm_lm.py", *session.posargs)


@nox.session
def suite(session: nox.Session) -> None:
    """Train eleven networks with symbucket and with PyTorch, in turns; takes long."""
    session.install("-e", ".[training]")
    install_group(session, "bench")
    session.run("python", "benchmarks/suite.py", *session.posargs)
