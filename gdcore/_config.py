"""What gdcore runs on: the level of kernels, the number of threads."""

from __future__ import annotations

import platform

import numpy as np

from gdcore import _core


def get_num_threads() -> int:
    """Return the number of threads that gdcore may use.

    At import it is ``GDCORE_NUM_THREADS``, else the smallest of the processors that this process
    may run on, its container's quota and ``OMP_NUM_THREADS``.

    Examples
    --------
    >>> gd.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def set_num_threads(n: int) -> None:
    """Use at most `n` threads from now on, in the whole process. No result depends on it.

    Parameters
    ----------
    n : int
        1 to 256.

    Raises
    ------
    TypeError, ValueError
        Where n is not such a number.

    Examples
    --------
    >>> before = gd.get_num_threads()
    >>> gd.set_num_threads(1)
    >>> gd.get_num_threads()
    1
    >>> gd.set_num_threads(before)
    """
    _core.set_num_threads(n)


def show_config() -> None:
    """Print version, level of kernels and threads, for reports of trouble.

    The level is the best one that the processor runs; the environment variable ``GDCORE_ISA``
    (base, avx2, avx512) forces one at import.

    Examples
    --------
    >>> gd.show_config()
    gdcore ...
    """
    import gdcore

    print(f"gdcore     {gdcore.__version__}")
    print(f"level      {_core.level()} (this processor runs {', '.join(_core.levels())})")
    print(f"threads    {_core.get_num_threads()}")
    print(f"NumPy      {np.__version__}")
    print(f"Python     {platform.python_version()}, {platform.system()} {platform.machine()}")
