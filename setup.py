"""One extension module, gdcore._core; everything else about the package is in pyproject.toml.

Switches, from the environment (each kind of build has a folder of its own under build/):
  GDCORE_SANITIZE=address,undefined | thread    sanitizers (gcc, Linux)
  GDCORE_COVERAGE=1                             gcov counters
  GDCORE_DEBUG=1                                no optimisation, debugger symbols
  GDCORE_WERROR=1                               warnings are errors; not in a release
"""

import os
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SANITIZE = os.environ.get("GDCORE_SANITIZE", "")
COVERAGE, DEBUG, WERROR = (
    os.environ.get(f"GDCORE_{name}", "0") not in ("", "0")
    for name in ("COVERAGE", "DEBUG", "WERROR")
)

compile_args = ["-std=c11", "-O3", "-fno-math-errno", "-ffp-contract=off", "-fvisibility=hidden"]
compile_args += ["-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes"] + ["-Werror"] * WERROR
for headers in (sysconfig.get_path("include"), numpy.get_include()):
    compile_args += ["-isystem", headers]  # not -I: their headers do not pass these warnings
link_args = ["-pthread"]

kind = "release"
if SANITIZE:
    kind = SANITIZE.replace(",", "-")
    # Python's own flags may hold -fwrapv, under which signed overflow is no error.
    compile_args += ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-wrapv", f"-fsanitize={SANITIZE}"]
    compile_args += ["-fno-sanitize-recover=all"]
    link_args += [f"-fsanitize={SANITIZE}"]
elif COVERAGE:
    kind = "coverage"
    compile_args += ["-O0", "-g", "--coverage", "-fprofile-update=atomic"]
    link_args += ["--coverage"]
elif DEBUG:
    kind = "debug"
    compile_args += ["-O0", "-g3", "-UNDEBUG"]
else:
    compile_args += ["-g0", "-fstack-protector-strong"]
    if sys.platform == "linux":
        compile_args += ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3"]
        link_args += ["-Wl,-z,relro,-z,now"]


class BuildInParallel(build_ext):
    """Compile the files side by side, those that know nothing of Python with -Wpedantic too."""

    def build_extensions(self):
        compile_files = self.compiler.compile

        def compile_one(source, extra_postargs, **options):
            pedantic = not Path(source).name.startswith(("module", "arrays"))
            flags = [*extra_postargs, *["-Wpedantic"] * pedantic]
            return compile_files([source], extra_postargs=flags, **options)

        def compile_all(sources, **options):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                jobs = [pool.submit(compile_one, source, **options) for source in sources]
                return [name for job in jobs for name in job.result()]

        self.compiler.compile = compile_all
        super().build_extensions()


core = Extension("gdcore._core", sorted(map(str, Path("csrc").glob("*.c"))), libraries=["m"])
core.depends = ["setup.py", *(str(p) for p in Path("csrc").iterdir() if p.suffix != ".c")]
core.extra_compile_args, core.extra_link_args = compile_args, link_args
setup(
    ext_modules=[core],
    cmdclass={"build_ext": BuildInParallel},
    options={"build": {"build_base": f"build/{kind}"}},
)
