"""The rules of the source that a reader can check by eye, checked by machine.

A rule is a generator of complaints about one file. Each is applied to the whole tree, and to text
that breaks it, so that no rule can stop working unseen.
"""

import re
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (".ci", "benchmarks", "csrc", "docs", "gdcore", "notebooks", "tests", "tools")
SUFFIXES = {"", ".c", ".def", ".h", ".html", ".in", ".inc", ".ipynb", ".md", ".py", ".pyi", ".toml"}
GENERATED = {"__pycache__", ".ipynb_checkpoints"}

LONGEST_FUNCTION = 60
MEDIAN_FUNCTION = 20
LONGEST_FILE = {".c": 500, ".h": 500, ".inc": 500, ".def": 500, ".py": 600}
LONGEST_SETUP = 80
WIDTH = 100
TABLE_MACROS = set(re.findall(r"\b[A-Z]+\b(?=\()", (ROOT / "csrc/ops.def").read_text()))


def tree():
    """Every text file of the project as (name relative to the root, text)."""
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in sorted(files):
        if path.suffix in SUFFIXES and not GENERATED.intersection(path.parts):
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".ipynb":  # letters of a picture may spell anything
                text = re.sub(r'"image/png": "[^"]*"', '"image/png": ""', text)
            yield path.relative_to(ROOT).as_posix(), text


# ---- Reading C -----------------------------------------------------------------------------------


def is_c(name):
    return name.startswith("csrc/")


def knows_python(name):
    return re.fullmatch(r"csrc/(module\w*|arrays\w*)\.[ch]", name) is not None


def without_comments(text):
    """C text whose comments and strings are blanks; every line keeps its number."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"'
    return re.sub(pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.DOTALL)


def functions(text):
    """Each function as (line of its signature, length in lines, body), both lines counted from 0.

    A function's braces stand alone in the first column; nothing else's do.
    """
    lines = without_comments(text).split("\n")
    opening = None
    for number, line in enumerate(lines):
        if line.rstrip() == "{":
            opening = first = number
            while first > 0 and re.match(r"[^#\s].*[^;}\s]\s*$|\s+\S", lines[first - 1]):
                first -= 1
        elif line.rstrip() == "}" and opening is not None:
            yield first, number - first + 1, "\n".join(lines[opening + 1 : number])
            opening = None


def defines(text):
    """(line, name, body) of each macro, continuation lines joined."""
    joined = without_comments(text).replace("\\\n", "  ")
    for found in re.finditer(r"^[ \t]*#[ \t]*define[ \t]+(\w+)(.*)$", joined, re.MULTILINE):
        yield joined.count("\n", 0, found.start()) + 1, found[1], found[2]


def matching(name, text, pattern, message):
    """A complaint for each line of text in which the pattern is found."""
    for number, line in enumerate(text.split("\n"), 1):
        if re.search(pattern, line):
            yield f"{name}:{number}: {message}: {line.strip()[:60]}"


# ---- The rules -----------------------------------------------------------------------------------


def python_headers_in_bindings_only(name, text):
    if is_c(name) and not knows_python(name):
        header = r'^\s*#\s*include\s*[<"](Python\.h|numpy/|arrays\.h|module)'
        yield from matching(name, text, header, "only module*.c and arrays*.c know Python")


def memory_through_one_allocator(name, text):
    if is_c(name):
        calls = (
            r"malloc|calloc|realloc|reallocarray|free|aligned_alloc|posix_memalign|strn?dup|alloca"
        )
        calls = rf"(?<!\w)({calls}|Py(Mem|Object)_(Raw)?(Malloc|Calloc|Realloc|Free|New))\s*\("
        yield from matching(name, without_comments(text), calls, "memory comes from gd_alloc")


def functions_fit_a_screen(name, text):
    if is_c(name):
        for first, length, _ in functions(text):
            if length > LONGEST_FUNCTION:
                yield f"{name}:{first + 1}: a function of {length} lines"


def braces_of_functions_stand_alone(name, text):
    """What `functions` relies on."""
    if is_c(name):
        signature = r"^(?!struct|union|enum|typedef)[A-Za-z](?!.*=).*\)\s*\{"
        yield from matching(name, without_comments(text), signature, "the brace goes below")


def files_are_short(name, text):
    longest = LONGEST_SETUP if name == "setup.py" else LONGEST_FILE.get(Path(name).suffix)
    length = text.count("\n")
    if longest and length > longest:
        yield f"{name}: {length} lines, {longest} are allowed"


def loops_of_kernels_have_a_comment(name, text):
    if not name.endswith(".inc"):
        return
    lines = text.split("\n")
    for first, _, body in functions(text):
        above = first - 1
        while above > 0 and lines[above].startswith("#"):
            above -= 1
        if re.search(r"\b(for|while)\b", body) and not lines[above].endswith("*/"):
            yield f"{name}:{first + 1}: a kernel without its formula above it"


def macros_hide_no_control_flow(name, text):
    """But a macro that ops.def uses may write a row's function with its returns."""
    if is_c(name):
        for number, macro, body in defines(text):
            jumps = "" if macro in TABLE_MACROS else "|return|goto"
            if re.search(rf"\b(for|while|do{jumps})\b", body):
                yield f"{name}:{number}: a macro that hides a loop or a jump"


def no_intrinsics_no_fast_math(name, text):
    if is_c(name) or name in ("setup.py", "Makefile"):
        pattern = r"\b_mm\d*_|immintrin|x86intrin|arm_neon|fast-mat[h]|Ofast|target_clones"
        code = without_comments(text) if is_c(name) else text
        yield from matching(name, code, pattern, "not portable, or not IEEE 754")


def no_tabs_no_long_lines(name, text):
    if is_c(name):
        yield from matching(name, text, rf".{{{WIDTH + 1}}}", f"more than {WIDTH} columns")
    if is_c(name) or name.endswith((".py", ".pyi", ".toml", ".md")):
        yield from matching(name, text, r"\t", "a tab")
        yield from matching(name, text, r"\s$" if is_c(name) else r"\t$", "blanks at the end")


def nothing_left_to_do(name, text):
    yield from matching(name, text, r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b", "unfinished")


def no_place_of_one_machine(name, text):
    folders = r"(?<![\w.])/(work|root|farm|opt|mnt|home/\w+|Users/\w+)/"
    yield from matching(name, text, folders, "a folder of one machine")
    registry = r"(index|find)-(url|links)\b|https?://[^\s\"']*/simple\b"
    yield from matching(name, text, registry, "a registry")


# ---- Each rule holds for the tree, and finds what breaks it --------------------------------------

LONG_FUNCTION = "int f(void)\n{\n" + "    g();\n" * 58 + "}\n"
BARE_KERNEL = "static void FN(f)(size_t n)\n{\n    for (;;)\n        ;\n}\n"

RULES = {
    python_headers_in_bindings_only: [
        ("csrc/linear.c", "#include <Python.h>\n"),
        ("csrc/gd.h", "# include <numpy/arrayobject.h>\n"),
        ("csrc/losses.inc", '#include "arrays.h"\n'),
    ],
    memory_through_one_allocator: [
        ("csrc/module.c", "p = malloc(3);\n"),
        ("csrc/threads.c", "    free (p);\n"),
        ("csrc/arrays.c", "p = PyMem_RawMalloc(3);\n"),
    ],
    functions_fit_a_screen: [
        ("csrc/a.c", LONG_FUNCTION),
        ("csrc/a.inc", "static int\n" + LONG_FUNCTION.replace("int f", "FN(f)")),
    ],
    braces_of_functions_stand_alone: [("csrc/a.c", "int f(void) {\n    return 0;\n}\n")],
    files_are_short: [
        ("csrc/a.c", "\n" * 501),
        ("csrc/a.inc", "\n" * 501),
        ("gdcore/a.py", "\n" * 601),
        ("setup.py", "\n" * 81),
    ],
    loops_of_kernels_have_a_comment: [
        ("csrc/a.inc", "\n" + BARE_KERNEL),
        ("csrc/a.inc", "/* y = x */\n\n" + BARE_KERNEL),
        ("csrc/a.inc", "/* y = x */\n" + BARE_KERNEL + BARE_KERNEL),
    ],
    macros_hide_no_control_flow: [
        ("csrc/a.h", "#define EACH(i, n) for (size_t i = 0; i < n; i++)\n"),
        ("csrc/a.c", "#define ENSURE(x) \\\n    if (!x) \\\n        return -1;\n"),
        ("csrc/a.c", "#define OPTIMIZER(name, ...) \\\n    do { \\\n } while (0)\n"),
    ],
    no_intrinsics_no_fast_math: [
        ("csrc/a.inc", "a = _mm256_add_ps(b, c);\n"),
        ("csrc/a.c", "#include <immintrin.h>\n"),
        ("setup.py", 'args = ["-ffast-math"]\n'),
    ],
    no_tabs_no_long_lines: [
        ("csrc/a.c", "\tint x;\n"),
        ("csrc/a.c", "x" * 101 + "\n"),
        ("csrc/a.c", "int x; \n"),
        ("gdcore/a.py", "if x:\n\ty\n"),
    ],
    nothing_left_to_do: [("README.md", "TO~DO: write\n"), ("gdcore/a.py", "# FIX~ME\n")],
    no_place_of_one_machine: [
        ("README.md", "see /~home/someone/x\n"),
        (".ci/run", "cd /~root/x\n"),
        ("Makefile", "pip install --index~-url x\n"),
    ],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps(rule):
    complaints = [complaint for name, text in tree() for complaint in rule(name, text)]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_breach_is_found_by(rule):
    for name, planted in RULES[rule]:
        text = planted.replace("~", "")  # there so that this file itself breaks no rule
        assert list(rule(name, text)), (name, text)


def test_what_the_rules_allow():
    """Texts near the forbidden ones."""
    kernel = "/* y = x */\n#if GD_HAS_FMA\n" + BARE_KERNEL.replace(
        "(size_t n)", "(size_t n,\n int m)"
    )
    allowed = [
        ("csrc/arrays.c", "#include <Python.h>\n"),
        ("csrc/gd.h", "void *gd_alloc(size_t n);\nvoid gd_free(void *p); /* malloc(3) */\n"),
        ("csrc/module.c", "gd_set_allocator(PyMem_RawMalloc, PyMem_RawFree);\n"),
        ("csrc/a.c", LONG_FUNCTION.replace("    g();\n", "", 1)),
        ("csrc/a.inc", kernel),
        ("csrc/a.c", "static int table[] = {\n    1,\n};\nstruct s {\n    int x;\n};\n"),
    ]
    for rule in RULES:
        for name, text in allowed:
            assert not list(rule(name, text)), (rule.__name__, text)


def test_functions_are_counted_whole():
    function = "/* f */\nstatic int f(int a,\n             int b)\n{\n    return a;\n}\n"
    text = function + "\nint x[] = {\n    1,\n};\n"
    assert [(first, length) for first, length, _ in functions(text)] == [(1, 5)]


def test_functions_are_short_on_the_whole():
    lengths = [length for name, text in tree() if is_c(name) for _, length, _ in functions(text)]
    assert len(lengths) > 50
    assert median(lengths) <= MEDIAN_FUNCTION


def test_the_tree_is_read():
    names = {name for name, _ in tree()}
    assert {
        "setup.py",
        "Makefile",
        "csrc/gd.h",
        "gdcore/__init__.py",
        "tests/test_style.py",
    } <= names
