# What people type. Everything happens in .venv; pip takes its index and certificates from the environment.

.DEFAULT_GOAL := help
.PHONY: help install run test check format lint bench soak clean

SYSTEM_PYTHON ?= $(shell command -v python3.11 >/dev/null 2>&1 && python3.11 -V >/dev/null 2>&1 && echo python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
SOURCES := actors benchmarks lockstep middleware web
# Stamps: pip runs again only when a file that says what to install has changed.
INSTALLED := $(VENV)/.installed
INSTALLED_TEST := $(VENV)/.installed-test

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(INSTALLED) ## Install into .venv

run: $(INSTALLED) ## Install, then run everything on this machine (ARGS="--demo --port 8000")
	@exec $(BIN)/lockstep up $(ARGS)

test: $(INSTALLED_TEST) ## Install, then run the tests (ARGS="tests/unit -k send")
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	@failed=0; \
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --ignore tests/faults || failed=1; \
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/faults || failed=1; \
	exit $$failed
endif

check: lint test ## What must pass before a commit: format, lint, types, tests

format: $(INSTALLED_TEST) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(INSTALLED_TEST) ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(INSTALLED) ## Measure beside plain Dramatiq (ARGS="--quick")
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(INSTALLED_TEST) ## Break workers and Redis at random for ten minutes (SOAK_SECONDS=90)
	$(BIN)/python -m pytest -s -o tmp_path_retention_policy=failed tests/soak $(ARGS)

clean: ## Remove what was installed and cached; data/ stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(SOURCES) tests -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	$(SYSTEM_PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Lockstep needs Python 3.11 or later")'
	$(SYSTEM_PYTHON) -m venv $(VENV)

$(INSTALLED): setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(INSTALLED_TEST): setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@ $(INSTALLED)
