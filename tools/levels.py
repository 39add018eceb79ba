"""Run pytest, with the arguments given, once for each level that this processor has.

A level is picked when gdcore is imported, so each run is a process of its own.
"""

import os
import subprocess
import sys

from gdcore import _core


def main(arguments: list[str]) -> int:
    for level in _core.levels():
        print(f"GDCORE_ISA={level}", flush=True)
        options = ["--quiet", "-n", "auto", "--dist", "worksteal"]
        pytest = [sys.executable, "-m", "pytest", *options, *arguments]
        status = subprocess.run(pytest, env={**os.environ, "GDCORE_ISA": level}).returncode
        if status != 0:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
