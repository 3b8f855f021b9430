# Fenghuo 烽火. `make` alone lists what there is. Everything is installed into .venv, in this folder, by the lock files;
# a stamp in there says what was installed, so a second run starts at once. All talk about it goes to standard error.
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SILENT:

PYTHON ?= python3
ARGS ?=
ROUNDS ?= 10
WORKERS ?= 3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
FRONTEND := api/pages/frontend/package.json api/pages/frontend/package-lock.json
WORDS := $(wildcard */locale/*/LC_MESSAGES/*.po */*/locale/*/LC_MESSAGES/*.po)

.PHONY: help
help: ## List the targets.
	awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	echo '  ARGS="…" is passed on, as in: make demo ARGS="--exit --json", make test ARGS="-k cancel"'

.PHONY: demo
demo: .venv/installed ## Send one warning through a made-up city, then serve the console.
	$(BIN)/fenghuo demo $(ARGS)

.PHONY: test
test: .venv/installed .venv/dev ## Run all tests, file by file in WORKERS processes.
	sh tests/parts >&2
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: check
check: .venv/installed .venv/dev ## Lint, formatting, types, imports, and what must be in step with the code.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/ops/test_in_step.py

.PHONY: bench
bench: .venv/installed .venv/dev ## Measure, and print a table.
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: bench-scale
bench-scale: .venv/installed .venv/dev ## Measure what needs PostgreSQL, Kafka and processes of its own; takes hours.
	sh tests/parts >&2
	$(BIN)/python -m tests.bench.scale --svg docs/img/growth.svg $(ARGS)

.PHONY: soak
soak: .venv/installed .venv/dev ## Kill the program and cut it off in the middle of its work, for long, and look for what was lost.
	sh tests/parts >&2
	FENGHUO_SOAK=1 $(BIN)/python -m pytest -s tests/scale $(ARGS)
	for round in $$(seq $(ROUNDS)); do $(BIN)/python -m pytest -s tests/ops/test_crash.py $(ARGS) || exit 1; done

.PHONY: lock
lock: .venv/dev ## Write the lock files anew; ARGS=--upgrade takes newer versions.
	$(BIN)/python -m tests.ops.locks $(ARGS)

.PHONY: openapi
openapi: .venv/installed ## Write docs/openapi.json.
	$(BIN)/python -m infra.openapi docs/openapi.json

.PHONY: outcomes
outcomes: .venv/installed ## Write docs/outcomes.md from the channels' tables.
	$(BIN)/python -m tests.ops.outcomes

.PHONY: configuration
configuration: .venv/installed ## Write docs/configuration.md from the settings.
	$(BIN)/python -m tests.ops.configuration

.PHONY: screenshot
screenshot: .venv/installed .venv/dev ## Take the pictures in docs/img with a browser.
	sh tests/parts >&2
	$(BIN)/python -m tests.browser.screenshot

.PHONY: clean
clean: ## Remove what the other targets made; logs of warnings are left alone.
	rm -rf .venv build dist api/pages/static/vendor .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find domain projections notifiers api infra tests \( -name __pycache__ -o -name '*.mo' \) -prune -exec rm -rf {} +

# What is installed ----------------------------------------------------------------------------------------------------

.venv/made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'fenghuo: Python 3.11 or later is needed; name one: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'fenghuo: this Python lacks venv or pip; on Debian: apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv .venv >&2
	touch $@

.venv/runtime: .venv/made requirements.lock requirements-build.lock
	echo 'Installing what Fenghuo runs on…' >&2
	$(PIP) --require-hashes -r requirements.lock -r requirements-build.lock >&2
	touch $@

.venv/dev: .venv/runtime requirements-dev.lock
	echo 'Installing what the tests need…' >&2
	$(PIP) --require-hashes -r requirements-dev.lock >&2
	touch $@

.venv/installed: .venv/runtime pyproject.toml hatch_build.py $(FRONTEND) $(WORDS)
	command -v npm >/dev/null || { echo 'fenghuo: npm (Node.js 20) is needed, to fetch what the console loads.' >&2; exit 1; }
	echo 'Building the console and installing Fenghuo…' >&2
	$(PIP) --no-deps --no-build-isolation -e . >&2
	touch $@
