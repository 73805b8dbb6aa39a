# `make demo` shows the program, `make test` and `make check` are what CI runs.
# They need make and Python >= 3.11; the first run installs into $(VENV).

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 3

BIN = $(VENV)/bin
# A stamp says for which pyproject.toml the environment was filled.
BASE = $(VENV)/.installed
DEV = $(VENV)/.installed-dev

.PHONY: demo test check format docs bench clean

demo: $(BASE)
	@PATH="$(abspath $(BIN)):$$PATH" sh docs/demo.sh

test: $(DEV)
	$(BIN)/pytest -n $(WORKERS)

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python docs/generate.py --check

format: $(DEV)
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(DEV)
	$(BIN)/python docs/generate.py

bench: $(DEV)
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.bulk
	$(BIN)/python -m benchmarks.audit
	$(BIN)/python -m benchmarks.undo
	$(BIN)/python -m benchmarks.http

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BASE): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(BASE) $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'usermgr needs Python 3.11 or newer: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
