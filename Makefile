# `make` lists the targets. `.venv` and the installed package are made, and made anew, as needed.
PYTHON ?= python3
BIN := .venv/bin
GROUP := dev
PYTEST := pytest -n auto --dist worksteal --durations=5
CODE := setup.py pyproject.toml $(shell find csrc gdcore -type f -not -name '*.pyc')
BUILD_WITH = if command -v $$cc >/dev/null; then CC=$$cc GDCORE_WERROR=1 $(BIN)/python setup.py --quiet build_ext --force --build-temp build/lint-$$cc --build-lib build/lint-$$cc; else echo "$$cc: not installed"; fi
ENGINE := $(filter-out csrc/module% csrc/arrays% csrc/kernels%,$(wildcard csrc/*.c))

# The installed package is what counts: the folder gdcore/ of the source tree is never imported.
export PYTHONSAFEPATH := 1
export MPLBACKEND ?= agg

.PHONY: help run test levels lab bench peers asan generated coverage lint clean
.DELETE_ON_ERROR:
.SECONDARY:

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

run: .venv/installed ## execute the notebooks and print the documents' figures beside gdcore's
	PYTHONPATH=tools $(BIN)/python tools/run_notebooks.py

test: .venv/installed ## the whole suite, with the peers that are installed
	$(BIN)/$(PYTEST)

levels: .venv/installed ## the kernel tests with each level forced that this processor has
	$(BIN)/python tools/levels.py -m "levels and not peers"

lab: .venv/installed ## JupyterLab on notebooks/
	$(BIN)/pip install --quiet --no-build-isolation '.[notebook]' && $(BIN)/jupyter lab notebooks

bench: peers ## the benchmarks, beside NumPy, torch, and JAX with optax
	env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE $(BIN)/python benchmarks/run.py

peers: .venv/installed .venv/peers ## install the libraries that tests and benchmarks compare with

asan: export GDCORE_SANITIZE := address,undefined
asan: GROUP := test
asan: .venv-asan/installed ## the suite under AddressSanitizer and UBSan, and a search for leaks
	.venv-asan/bin/python tools/sanitized.py --ignore-glob="tests/test_notebook*" -m "not peers and not notebooks and not release"

generated: .venv/installed ## the stub, the lists and the page of the optimizers, from csrc/ops.def
	for made in stubs tables optimizer_page; do $(BIN)/python tools/make_$$made.py || exit 1; done

coverage: export GDCORE_COVERAGE := 1
coverage: GROUP := coverage
coverage: .venv-coverage/installed ## lines and branches of csrc/ that the suite reaches
	.venv-coverage/bin/$(PYTEST) --ignore-glob="tests/test_notebook*" -m "not peers and not notebooks and not release"
	.venv-coverage/bin/gcovr --root . --filter csrc/ build/coverage

lint: .venv/installed ## ruff, mypy, stubtest, and the compilers' warnings
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy && $(BIN)/stubtest gdcore --allowlist tools/stubtest.txt
	for cc in gcc clang; do $(BUILD_WITH) || exit 1; done
	for file in $(ENGINE); do gcc -std=c11 -O1 -fanalyzer -Werror -c -o /dev/null $$file || exit 1; done

%/installed: %/dependencies $(CODE)
	find build -path '*/lib*/gdcore/*' -name '*.py*' -delete 2>/dev/null || true
	$*/bin/pip install --quiet --no-deps --no-build-isolation --force-reinstall .
	touch $@

%/dependencies: pyproject.toml
	test -x $*/bin/python || $(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$*/bin/pip install --quiet --group $(GROUP)
	touch $@

%/peers: pyproject.toml
	$*/bin/pip install --quiet --group peers
	touch $@

clean: ## remove what the other targets made
	rm -rf .venv .venv-asan .venv-coverage build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
