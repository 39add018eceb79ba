"""The thread pool: every task once, the number of threads, forks, threads of Python.

Whatever could hang or needs a fresh import runs in a child process with a time limit. What the
package cannot be made to meet from outside (a container's quota, a system out of threads, a task
that calls the pool) is tried on a copy of threads.c, compiled with a shim around libc.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gdcore as gd
from gdcore import _core

MAX_THREADS = 256
CSRC = Path(__file__).resolve().parents[1] / "csrc"
SETTINGS = ("GDCORE_NUM_THREADS", "OMP_NUM_THREADS", "GDCORE_SPIN_US")

linux = pytest.mark.skipif(sys.platform != "linux", reason="affinity and /proc are Linux's")
two_processors = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="with one processor the default is 1 whatever the environment says",
)

# For child processes: `shared()` returns once a job was done by two threads, and fails on any task
# that did not run exactly once.
PRELUDE = """
import os, signal, sys, threading, time
import gdcore as gd
from gdcore import _core

def shared():
    while True:
        counts, took_part = _core.pool_probe(20_000, 2)
        assert (counts == 1).all()
        if took_part == 2:
            return

def fork_and_share():
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # ends a child that hangs
        status = 1
        try:
            shared()
            status = 0
        finally:
            os._exit(status)
    counts, _ = _core.pool_probe(1_000, 2)
    assert (counts == 1).all()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"child ended with {status:#x}"
"""


def run_child(body: str, *, before: str = "", timeout: float = 60, **environment: str) -> str:
    """Standard output of a fresh interpreter; `before` runs before gdcore is imported."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(before) + PRELUDE + textwrap.dedent(body)],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PIN = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"


def default_threads(*, pinned: bool = False, **environment: str) -> int:
    """The number that an import puts in force; pinned: on one processor alone."""
    before = PIN if pinned else ""
    return int(run_child("print(gd.get_num_threads())", before=before, **environment))


@pytest.fixture(autouse=True)
def _restore_number() -> Iterator[None]:
    before = gd.get_num_threads()
    yield
    gd.set_num_threads(before)


# ---- Jobs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("tasks", [0, 1, 2, 7, 1000])
def test_each_task_runs_once(tasks: int, threads: int) -> None:
    for _ in range(50):
        counts, took_part = _core.pool_probe(tasks, threads)
        assert counts.dtype == np.int64
        assert counts.shape == (tasks,)
        assert (counts == 1).all()
        assert took_part <= min(tasks, threads)
        assert took_part >= min(tasks, 1)


def test_a_worker_takes_part() -> None:
    deadline = time.monotonic() + 10
    while _core.pool_probe(100_000, 2)[1] != 2:
        assert time.monotonic() < deadline, "the caller did everything alone for 10 s"


def test_python_threads_at_the_same_time() -> None:
    wrong: list[tuple[int, int]] = []
    start = threading.Barrier(6)

    def call(number: int) -> None:
        start.wait(timeout=10)
        for i in range(300):
            tasks = 1 + (7 * i + number) % 500
            counts, took_part = _core.pool_probe(tasks, 1 + i % 4)
            if counts.shape != (tasks,) or not (counts == 1).all() or took_part > 1 + i % 4:
                wrong.append((tasks, took_part))

    callers = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
    assert not any(caller.is_alive() for caller in callers)
    assert wrong == []


# ---- The number of threads ------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, MAX_THREADS, np.int64(5), np.uint8(4)])
def test_set_then_get(n: int) -> None:
    gd.set_num_threads(n)
    assert gd.get_num_threads() == n
    assert type(gd.get_num_threads()) is int


@pytest.mark.parametrize("n", [0, -1, MAX_THREADS + 1, 10**30, -(10**30)])
def test_a_number_out_of_range_is_refused(n: int) -> None:
    gd.set_num_threads(3)
    with pytest.raises(ValueError, match=rf"\bn\b.*{n}"):
        gd.set_num_threads(n)
    assert gd.get_num_threads() == 3


@pytest.mark.parametrize("n", [1.5, 2.0, "2", None, [2], True, np.float64(2), np.True_])
def test_what_is_no_whole_number_is_refused(n: object) -> None:
    gd.set_num_threads(3)
    with pytest.raises(TypeError, match=r"\bn\b"):
        gd.set_num_threads(n)  # type: ignore[arg-type]
    assert gd.get_num_threads() == 3


def test_show_config_states_the_number(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for n in (17, 19):
        gd.set_num_threads(n)
        gd.show_config()
        shown.append([line for line in capsys.readouterr().out.splitlines() if "thread" in line])
    assert any("17" in line for line in shown[0])
    assert [line.replace("17", "19") for line in shown[0]] == shown[1]


# ---- The environment ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "number"), [("1", 1), ("3", 3), (" 5 ", 5), ("007", 7), ("99999999999999999999", 256)]
)
def test_own_variable_overrides_all(value: str, number: int) -> None:
    found = default_threads(
        pinned=sys.platform == "linux", GDCORE_NUM_THREADS=value, OMP_NUM_THREADS="2"
    )
    assert found == number


@linux
@pytest.mark.parametrize("value", ["", " ", "0", "-7", "+7", "7.5", "7x", "0x7", "7,7", "seven"])
def test_malformed_own_variable_is_ignored(value: str) -> None:
    assert default_threads(pinned=True, GDCORE_NUM_THREADS=value) == 1


@linux
def test_affinity_limits_the_default() -> None:
    assert default_threads(pinned=True) == 1
    assert 1 <= default_threads() <= len(os.sched_getaffinity(0))


@two_processors
@pytest.mark.parametrize("value", ["1", "1,4", " 1 , 4"])
def test_openmp_variable_lowers_the_default(value: str) -> None:
    assert default_threads(OMP_NUM_THREADS=value) == 1


@two_processors
@pytest.mark.parametrize("value", ["1000", "", "0", "-1", "1.5", "1;4", "one", ",1"])
def test_openmp_variable_neither_raises_the_default_nor_is_guessed(value: str) -> None:
    assert default_threads(OMP_NUM_THREADS=value) == default_threads()


@pytest.mark.parametrize(
    ("environment", "spins"),
    [
        ({"GDCORE_SPIN_US": "0"}, False),
        ({}, False),
        ({"GDCORE_SPIN_US": "1000000"}, True),
        ({"GDCORE_SPIN_US": "99999999999999999999"}, True),  # cut to a second
        ({"GDCORE_SPIN_US": "1000000us"}, False),  # malformed: 50
        ({"GDCORE_SPIN_US": "-1000000"}, False),
    ],
)
def test_how_long_idle_workers_spin(environment: dict[str, str], spins: bool) -> None:
    """What a worker uses in 0.4 s after a job: next to nothing, or all that others leave it.

    It yields while it spins: on busy cores it gets little time, and hands over again and again.
    """
    body = """
        from resource import RUSAGE_SELF, getrusage
        shared()
        before, handed_over = time.process_time(), getrusage(RUSAGE_SELF).ru_nivcsw
        time.sleep(0.4)
        print(time.process_time() - before, getrusage(RUSAGE_SELF).ru_nivcsw - handed_over)
    """
    # NumPy's OpenBLAS has idle threads of its own, which spin too.
    used, handed_over = map(float, run_child(body, OPENBLAS_NUM_THREADS="1", **environment).split())
    assert (used > 0.03 or handed_over > 50) is spins, (used, handed_over)


# ---- Forks and signals ----------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("spin", ["0", "50"])
def test_200_forks(spin: str) -> None:
    body = """
        shared()
        for _ in range(200):
            fork_and_share()
        shared()
        print("done")
    """
    assert run_child(body, timeout=120, GDCORE_SPIN_US=spin) == "done\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_forks_while_another_thread_computes() -> None:
    """A fork waits for the job in progress, and for no more than that."""
    body = """
        stop = threading.Event()
        def compute():
            while not stop.is_set():
                counts, _ = _core.pool_probe(50_000, 2)
                assert (counts == 1).all()
        other = threading.Thread(target=compute)
        other.start()
        for _ in range(100):
            fork_and_share()
        assert other.is_alive()
        stop.set()
        other.join()
        print("done")
    """
    assert run_child(body, timeout=120) == "done\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_child_of_a_child() -> None:
    body = """
        shared()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            status = 1
            try:
                fork_and_share()
                shared()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        print("done")
    """
    assert run_child(body) == "done\n"


@linux
def test_workers_block_signals_but_those_of_their_own_faults() -> None:
    body = """
        before = set(os.listdir("/proc/self/task"))
        shared()
        workers = set(os.listdir("/proc/self/task")) - before
        assert len(workers) == 1, workers
        with open(f"/proc/self/task/{workers.pop()}/status") as status:
            mask = next(int(line.split()[1], 16) for line in status if line.startswith("SigBlk"))
        names = "SIGINT SIGTERM SIGALRM SIGCHLD SIGPROF SIGSEGV SIGBUS SIGFPE SIGILL".split()
        print(*(name for name in names if mask >> (getattr(signal, name) - 1) & 1))
        print(*signal.pthread_sigmask(signal.SIG_BLOCK, []))
    """
    blocked, of_the_caller = run_child(body).splitlines()
    assert blocked == "SIGINT SIGTERM SIGALRM SIGCHLD SIGPROF"
    assert of_the_caller == ""


def test_exit_while_a_daemon_thread_computes() -> None:
    body = """
        def compute():
            while True:
                _core.pool_probe(1_000, 2)
        threading.Thread(target=compute, daemon=True).start()
        shared()
        print("done")
    """
    for _ in range(5):
        assert run_child(body, timeout=20) == "done\n"


# ---- A copy of threads.c behind a shim ------------------------------------------------------

SHIM = r"""
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

char root[4096];            /* put before every path that is opened */
int threads_to_be_had = 1000;
int created;

FILE *rooted_fopen(const char *path, const char *mode)
{
    char whole[8192];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    return fopen(whole, mode);
}

int limited_create(pthread_t *id, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
    if (created >= threads_to_be_had)
        return EAGAIN;
    created++;
    return pthread_create(id, attributes, run, arg);
}

void gd_parallel(size_t tasks, size_t threads, void (*task)(void *, size_t), void *context);
volatile int stop;

static void add_up(void *context, size_t index)
{
    volatile double sum = 0;
    for (int k = 0; k < 200000; k++)
        sum = sum + 1;
    (void)context, (void)index;
}

void back_to_back(size_t jobs)
{
    for (size_t i = 0; i < jobs && !stop; i++)
        gd_parallel(2, 2, add_up, NULL);
}
"""
TASK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_size_t)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ctypes.CDLL]:
    compiler = shutil.which("cc")
    if compiler is None or not (CSRC / "threads.c").exists():
        pytest.skip("needs a C compiler and the sources")
    folder = tmp_path_factory.mktemp("pool")
    (folder / "shim.c").write_text(SHIM)
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    options = ["-std=c11", "-O1", "-fPIC", "-pthread"]
    renamed = ["-Dfopen=rooted_fopen", "-Dpthread_create=limited_create"]
    for source, more in ((CSRC / "threads.c", renamed), (folder / "shim.c", [])):
        command = [compiler, *options, *more, "-c", str(source), "-o", f"{source.stem}.o"]
        subprocess.run(command, cwd=folder, env=environment, check=True, timeout=60)
    link = [compiler, "-shared", "-pthread", "threads.o", "shim.o", "-o", "pool.so"]
    subprocess.run(link, cwd=folder, env=environment, check=True, timeout=60)
    library = ctypes.CDLL(str(folder / "pool.so"))
    library.gd_parallel.argtypes = [ctypes.c_size_t, ctypes.c_size_t, TASK, ctypes.c_void_p]
    library.gd_parallel.restype = None
    library.gd_threads_set.argtypes = [ctypes.c_size_t]
    library.gd_threads_set.restype = None
    library.gd_threads_get.restype = ctypes.c_size_t
    library.gd_threads_default.restype = ctypes.c_size_t
    library.gd_threads_shutdown.restype = None
    yield library
    library.gd_threads_shutdown()


def quota_default(pool: ctypes.CDLL, root: Path, files: dict[str, str]) -> int:
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    where = (ctypes.c_char * 4096).in_dll(pool, "root")
    where.value = bytes(root)
    try:
        return int(pool.gd_threads_default())
    finally:
        where.value = b""


def version_1(quota: str, period: str) -> dict[str, str]:
    return {"cpu/cpu.cfs_quota_us": quota + "\n", "cpu/cpu.cfs_period_us": period + "\n"}


@linux
@two_processors
@pytest.mark.parametrize(
    ("files", "number"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "100001 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        (version_1("100000", "100000"), 1),
        (version_1("1000", "100000"), 1),
        (version_1("150000", "100000"), 2),
        (version_1("150000", "100000") | {"cpu.max": "50000 100000\n"}, 1),
        (version_1("50000", "100000") | {"cpu.max": "max 100000\n"}, 1),
    ],
)
def test_quota_of_a_container(
    pool: ctypes.CDLL,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    number: int,
) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert quota_default(pool, tmp_path, files) == number


@linux
@two_processors
@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000\n"},
        {"cpu.max": ""},
        {"cpu.max": "100000\n"},
        {"cpu.max": "100000 0\n"},
        {"cpu.max": "0 100000\n"},
        {"cpu.max": "junk\n"},
        version_1("-1", "100000"),
        version_1("1000", "0"),
        {"cpu/cpu.cfs_quota_us": "1000\n"},
        {"cpu/cpu.cfs_period_us": "1000\n"},
    ],
)
def test_no_quota(
    pool: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]
) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert quota_default(pool, tmp_path, files) == min(len(os.sched_getaffinity(0)), MAX_THREADS)


def test_number_is_brought_into_range(pool: ctypes.CDLL) -> None:
    for n, number in ((0, 1), (1, 1), (256, 256), (257, 256), (2**64 - 1, 256), (2, 2)):
        pool.gd_threads_set(n)
        assert pool.gd_threads_get() == number


@pytest.mark.parametrize("to_be_had", [0, 1, 2, 1000])
def test_a_system_short_of_threads(pool: ctypes.CDLL, to_be_had: int) -> None:
    pool.gd_threads_shutdown()
    ctypes.c_int.in_dll(pool, "created").value = 0
    ctypes.c_int.in_dll(pool, "threads_to_be_had").value = to_be_had
    counts = np.zeros(100, np.int64)

    @TASK
    def count(_context: int, index: int) -> None:
        counts[index] += 1

    for _ in range(20):
        pool.gd_parallel(counts.size, 4, count, None)
    assert (counts == 20).all()
    assert ctypes.c_int.in_dll(pool, "created").value == min(to_be_had, 3)


def test_a_task_may_call_the_pool(pool: ctypes.CDLL) -> None:
    ctypes.c_int.in_dll(pool, "threads_to_be_had").value = 1000
    counts = np.zeros((20, 30), np.int64)

    @TASK
    def outer(_context: int, row: int) -> None:
        @TASK
        def inner(_context: int, column: int) -> None:
            counts[row, column] += 1

        pool.gd_parallel(30, 3, inner, None)

    for _ in range(20):
        pool.gd_parallel(20, 3, outer, None)
    assert (counts == 20).all()


def test_one_job_after_the_other_does_not_hold_off_a_fork(pool: ctypes.CDLL) -> None:
    """The wait before a fork, which gd_threads_shutdown shares, ends long before the jobs do."""
    stop = ctypes.c_int.in_dll(pool, "stop")
    stop.value = 0
    pool.back_to_back.argtypes = [ctypes.c_size_t]
    pool.back_to_back.restype = None
    other = threading.Thread(target=pool.back_to_back, args=(4_000,), daemon=True)
    other.start()
    for _ in range(20):
        time.sleep(0.001)
        pool.gd_threads_shutdown()
    jobs_were_left = other.is_alive()
    stop.value = 1
    other.join(timeout=60)
    assert jobs_were_left
    assert not other.is_alive()


def test_more_threads_than_the_pool_holds(pool: ctypes.CDLL) -> None:
    pool.gd_threads_shutdown()
    ctypes.c_int.in_dll(pool, "created").value = 0
    ctypes.c_int.in_dll(pool, "threads_to_be_had").value = 1000
    counts = np.zeros(600, np.int64)

    @TASK
    def count(_context: int, index: int) -> None:
        counts[index] += 1

    pool.gd_parallel(counts.size, 10_000, count, None)
    assert (counts == 1).all()
    assert ctypes.c_int.in_dll(pool, "created").value == MAX_THREADS - 1
    pool.gd_threads_shutdown()
