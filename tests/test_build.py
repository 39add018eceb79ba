"""What a build and an installation promise: portable C, a small package, no side effects."""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import gdcore

ROOT = Path(__file__).resolve().parents[1]
PORTABLE = sorted(
    path
    for path in (ROOT / "csrc").glob("*.c")
    if not re.fullmatch(r"(module\w*|arrays\w*)\.c", path.name)
)
COMPILER = os.environ.get("CC", "cc").split()
# Bytes: three levels of kernels for two types of real are 2.0 MB of code with gcc 12 (0.25 MB of it
# elementwise instructions), which neither -O2 (20 % less) nor loops without vector epilogues (13 %)
# would bring to the 1.5 MB once aimed at; networks, their loop and data of eleven types are 0.2 MB
# more, the package's Python is 1.3 MB, half of it docstrings.
LARGEST_INSTALLATION = 4_100_000

# Flush-to-zero and the rounding mode live in the register that holds the exception flags too; the
# flags may change. `flush` turns subnormals off, as code linked with unsafe options would.
CONTROL_WORD = """
#if defined(__x86_64__)
unsigned long control(void) { return __builtin_ia32_stmxcsr() & ~0x3fu; }
void flush(int on) { __builtin_ia32_ldmxcsr(on ? 0x9f80u : 0x1f80u); }
#else
unsigned long control(void)
{
    unsigned long word;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(word));
    return word;
}
void flush(int on)
{
    unsigned long word = on ? 1ul << 24 : 0;
    __asm__ __volatile__("msr fpcr, %0" : : "r"(word));
}
#endif
"""


def run_python(code, *arguments):
    """Standard output of a fresh interpreter."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def package_files():
    """Every installed file of the package but what the interpreter caches."""
    folder = Path(gdcore.__file__).parent
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]


@pytest.mark.parametrize("path", PORTABLE, ids=lambda path: path.name)
def test_compiles_without_a_build_system(path, tmp_path):
    command = [*COMPILER, "-O3", "-c", str(path), "-o", str(tmp_path / "object.o")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""


def test_kernels_and_engine_are_portable():
    names = {path.name for path in PORTABLE}
    assert {"dispatch.c", "kernels_base.c", "kernels_avx2.c", "kernels_avx512.c"} <= names


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"),
    reason="the name of the floating-point control register is known for x86-64 and ARM64 alone",
)
def test_import_leaves_the_floating_point_control_word_alone(tmp_path):
    source, library = tmp_path / "control.c", tmp_path / "control.so"
    source.write_text(CONTROL_WORD)
    subprocess.run([*COMPILER, "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    code = """if True:
        import ctypes, sys, numpy
        control = ctypes.CDLL(sys.argv[1]).control
        before = control()
        import gdcore, gdcore._core
        print(before == control(), 5e-324 * 1.0 > 0)"""
    assert run_python(code, library).split() == ["True", "True"]

    # The reader of the register does see a change.
    functions = ctypes.CDLL(str(library))
    before = functions.control()
    functions.flush(1)
    flushed = functions.control()
    functions.flush(0)
    assert flushed != before == functions.control()


def test_import_needs_numpy_alone():
    code = """if True:
        import sys, numpy
        before = set(sys.modules)
        import gdcore
        print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))"""
    imported = set(run_python(code).split())
    assert imported - set(sys.stdlib_module_names) <= {"gdcore", "numpy"}
    assert "gdcore" in imported


def test_installation_is_small():
    sizes = {path.name: path.stat().st_size for path in package_files()}
    assert sum(sizes.values()) <= LARGEST_INSTALLATION, sizes


def test_installation_is_complete():
    names = {path.name for path in package_files()}
    assert {"py.typed", "_core.pyi", "__init__.py"} <= names
    assert any(re.match(r"_core\..*(so|pyd)$", name) for name in names)


def test_metadata():
    metadata = importlib.metadata.metadata("gdcore")
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Version"] == gdcore.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) == {"sklearn", "plot", "notebook"}
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert required == ["numpy>=2.0"]


def test_source_distribution_holds_every_c_file(tmp_path):
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("csrc", "gdcore"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    command = [sys.executable, "setup.py", "--quiet", "sdist"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (archive,) = (tmp_path / "dist").glob("gdcore-*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    wanted = {f"csrc/{path.name}" for path in (ROOT / "csrc").iterdir()}
    assert wanted | {"LICENSE", "gdcore/py.typed", "gdcore/_core.pyi"} <= names


def test_a_leak_is_told_from_the_interpreters():
    path = ROOT / "tools" / "sanitized.py"
    spec = importlib.util.spec_from_file_location("sanitized", path)
    sanitized = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sanitized)

    head = (
        "Direct leak of 5 byte(s) in 1 object(s) allocated from:\n    #0 0x7f in malloc x.cpp:69\n"
    )
    ours = head + "    #1 0x7f in PyMem_RawMalloc\n    #2 0x7f in gd_alloc csrc/memory.c:11\n"
    theirs = head + "    #1 0x7f in PyFloat_FromDouble\n    #2 0x7f in f csrc/module.c:11\n"
    assert sanitized.our_leaks(theirs + "\n" + ours + "\n") == [ours]
