# `make demo` and `make test` need nothing but Python 3.11 or newer and make: they build their own environment.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# One more than two processors: many tests wait for a disk, a signal or another process.
JOBS ?= 3
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: help install demo test test-slow test-all lint docs bench clean

help:
	@echo "make demo     train on a phantom with known motion and noise, and leave a page to look at"
	@echo "make test     run the tests of a few seconds each"
	@echo "make test-slow  run longer tests; make test-all runs every test"
	@echo "make lint     check style and types"
	@echo "make docs     build the guide: docs/_build/html/index.html"
	@echo "make bench    measure speed and memory against the published schedule; minutes, on a quiet machine"
	@echo "make install  build the environment $(VENV) alone"
	@echo "make clean    remove the environment and what was built"
	@echo
	@echo "PYTHON=python3.12 chooses the interpreter, VENV=DIR the environment, ARGS='...' is passed on; JOBS=4: so"
	@echo "many tests at once, instead of 3."

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "heteroreg needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1)." \
	       "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "installing into $(VENV): minutes the first time, since PyTorch is large"
	@$(PYTHON) -m venv "$(VENV)"
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch "$@"

demo: $(STAMP)
	"$(BIN)/heteroreg" demo --out demo $(ARGS)

test: $(STAMP)
	"$(BIN)/pytest" -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow" $(ARGS)

test-slow: $(STAMP)
	"$(BIN)/pytest" -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "slow and not long" $(ARGS)

test-all: $(STAMP)
	"$(BIN)/pytest" -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(STAMP)
	"$(BIN)/ruff" check
	"$(BIN)/ruff" format --check
	"$(BIN)/mypy"

docs: $(STAMP)
	"$(BIN)/python" docs/settings_table.py
	"$(BIN)/sphinx-build" -W --keep-going -q -b html docs docs/_build/html $(ARGS)

bench: $(STAMP)
	"$(BIN)/python" -m benchmarks $(ARGS)

clean:
	rm -rf "$(VENV)" docs/_build build dist .mypy_cache .pytest_cache .ruff_cache .coverage .coverage.*
