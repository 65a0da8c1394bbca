# Every target creates its environment in .venv if it is missing. Paths are relative and tools run as `python -m`,
# so that a checkout also works in a folder whose name has spaces.

PYTHON ?= python3
BACKENDS ?= tensorflow jax torch
WORKERS ?= 2
ARGS ?=

VENV ?= .venv
# A file of version constraints for pip, used by `make test-oldest`.
CONSTRAINTS ?= /dev/null

# Installed first and pinned, since a plain `torch` may bring gigabytes of CUDA. Another build works too.
TORCH ?= torch==2.13.0

PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --quiet --disable-pip-version-check --constraint "$(CONSTRAINTS)"

.DEFAULT_GOAL := help
.PHONY: help demo test test-full test-oldest faults lint format bench papers scale docs clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 - \2/p' Makefile

demo: $(VENV)/dev.stamp ## a short tour; KERAS_BACKEND picks the backend, by default JAX
	@TF_CPP_MIN_LOG_LEVEL=2 KERAS_BACKEND="$${KERAS_BACKEND:-jax}" $(PY) -m frostline demo $(ARGS)

test: $(VENV)/dev.stamp $(VENV)/browser.stamp ## the suite on each backend; BACKENDS="jax torch", ARGS="-k name -x" and WORKERS=0 narrow it
	@$(PY) tests/run_backends.py --backends "$(BACKENDS)" --workers "$(WORKERS)" -- $(ARGS)

test-full: $(VENV)/dev.stamp $(VENV)/browser.stamp ## the suite with the matrix of optimizers, the suite without fast paths, and faults: over an hour
	@$(PY) tests/run_backends.py --backends "$(BACKENDS)" --workers "$(WORKERS)" --shards 4 -- \
		-m "full or not full" $(ARGS)
	@$(PY) tests/run_backends.py --backends "$(BACKENDS)" --workers "$(WORKERS)" --shards 2 -- \
		--generic --ignore tests/fast/test_fast.py $(ARGS)
	@$(PY) tests/faults.py --workers "$(WORKERS)"

faults: $(VENV)/dev.stamp $(VENV)/browser.stamp ## break the library on purpose and check that tests notice; ARGS="--only '*slots*'" narrows it
	@$(PY) tests/faults.py --workers "$(WORKERS)" $(ARGS)

test-oldest: ## the suite on the oldest supported Keras and backends, in .venv-oldest
	@$(MAKE) --no-print-directory test VENV=.venv-oldest CONSTRAINTS=tests/oldest.txt

lint: $(VENV)/dev.stamp ## ruff (rules and format) and pyright
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m pyright

format: $(VENV)/dev.stamp ## apply the formatter and the safe fixes
	@$(PY) -m ruff check --fix
	@$(PY) -m ruff format

bench: $(VENV)/bench.stamp ## the benchmarks, about half an hour; ARGS="--only entries" narrows them
	@$(PY) -m benchmarks.run $(ARGS)

papers: $(VENV)/bench.stamp ## experiments of papers about freezing at a small scale; ARGS="--only bitfit" narrows them, ARGS=--write writes the page
	@TF_CPP_MIN_LOG_LEVEL=2 KERAS_BACKEND="$${KERAS_BACKEND:-jax}" $(PY) -m benchmarks.papers.run $(ARGS)

scale: $(VENV)/dev.stamp ## bytes sent and bytes in memory for each engine; ARGS="--only table" narrows them, ARGS=--write writes the page
	@$(PY) -m benchmarks.scale.run $(ARGS)

# The variable turns off the theme's banner about MkDocs 2; the extra pins MkDocs 1.
docs: $(VENV)/docs.stamp ## run every example in the documentation, then build it in site/
	@KERAS_BACKEND="$${KERAS_BACKEND:-jax}" $(PY) -m pytest --quiet tests/project/test_docs.py tests/project/test_notebooks.py
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

clean: ## remove .venv, caches and build outputs
	@rm -rf .venv .venv-oldest .pytest_cache .ruff_cache .hypothesis build dist site
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment is up to date while its stamp is newer than pyproject.toml.
$(VENV)/python.stamp:
	@"$(PYTHON)" -c 'import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 11) else "frostline needs Python 3.11 or later, and $(PYTHON) is " + v + ". Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "Setting up $(VENV): a few minutes, once."
	@"$(PYTHON)" -m venv "$(VENV)"
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(VENV)/python.stamp
	@$(PIP) "$(TORCH)"
	@$(PIP) --editable ".[dev]"
# Without its dependencies: tensorflow-text would bring a second TensorFlow. `dev` has what keras-hub imports.
	@$(PIP) --no-deps keras-hub
	@touch $@

# An installed Chromium or Chrome; if there is none, root on Debian installs one. No test is skipped without it.
$(VENV)/browser.stamp: tests/browser.py | $(VENV)/python.stamp
	@$(PY) tests/browser.py
	@touch $@

$(VENV)/bench.stamp: pyproject.toml $(VENV)/dev.stamp
	@$(PIP) --editable ".[bench]"
	@touch $@

$(VENV)/docs.stamp: pyproject.toml $(VENV)/dev.stamp
	@$(PIP) --editable ".[docs]"
	@touch $@
