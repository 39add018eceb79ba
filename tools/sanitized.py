"""Run pytest, with the arguments given, on a gdcore built with GDCORE_SANITIZE=address,undefined.

AddressSanitizer and UBSan end the run at their first report. The search for leaks at the end of the
process also finds what the interpreter and other extensions never free, so its report is read: a
leak is ours where the first frame that is not an allocator's lies in gdcore's extension module.
Suppressions would not do: every call comes through the interpreter, so one of it hides ours too.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

LOGS = Path("build/sanitizer-logs")
# Only blocks that nothing points to; what hangs on a leaked object of the interpreter is its own.
LEAK = re.compile(r"^Direct leak of .*\n(?:\s+#\d+ .*\n)+", re.MULTILINE)
# What is no warning: there is one where a test asks for 2**50 bytes and is refused.
ERROR = re.compile(r"ERROR: (?!LeakSanitizer)|runtime error:")
ALLOCATOR = re.compile(r"\b((__interceptor_)?(malloc|calloc|realloc)|_?PyMem_\w+)\b")


def library(name: str) -> str:
    """Path of a library of gcc's."""
    command = ["gcc", f"-print-file-name={name}"]
    path = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    if not os.path.isabs(path):
        raise SystemExit(f"gcc has no {name}: install its sanitizer run-time libraries")
    return path


def environment() -> dict[str, str]:
    """What the interpreter, which is not instrumented, needs to load an instrumented module."""
    log = f"log_path={(LOGS / 'report').absolute()}"
    return {
        **os.environ,
        # libstdc++ beside it: without it an exception in another library's C++ can abort.
        "LD_PRELOAD": f"{library('libasan.so')}:{library('libstdc++.so')}",
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1:strict_init_order=true:"
        # Guessing the bounds of thread-local blocks crashes gcc 12's search for leaks now and then:
        # it takes what stands before a block at 16 bytes past a page for glibc 2.19's header.
        f"use_sigaltstack=0:intercept_tls_get_addr=0:{log}",
        "LSAN_OPTIONS": "exitcode=0:report_objects=0",
        "UBSAN_OPTIONS": f"print_stacktrace=1:{log}",
    }


def our_leaks(report: str) -> list[str]:
    """The stacks of a LeakSanitizer report whose first frame beyond the allocators is ours."""
    found = []
    for stack in LEAK.findall(report):
        frames = [line for line in stack.splitlines()[1:] if not ALLOCATOR.search(line)]
        if frames and re.search(r"gdcore/_core|\bcsrc/", frames[0]):
            found.append(stack)
    return found


def main(arguments: list[str]) -> int:
    LOGS.mkdir(parents=True, exist_ok=True)
    for old in LOGS.iterdir():
        old.unlink()
    # UBSan writes to the terminal, which pytest is therefore told to leave alone.
    options = ["-n", "auto", "--dist", "worksteal", "--capture=sys", "--timeout=1500"]
    pytest = [sys.executable, "-m", "pytest", *options, *arguments]
    status = subprocess.run(pytest, env=environment()).returncode
    reports = [path.read_text(errors="replace") for path in sorted(LOGS.iterdir())]
    errors = [report for report in reports if ERROR.search(report)]
    leaks = [stack for report in reports for stack in our_leaks(report)]
    for text in errors + leaks:
        print(text, file=sys.stderr)
    print(f"sanitizers: {len(errors)} errors, {len(leaks)} leaks of gdcore's")
    return status or bool(errors or leaks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
