# What a developer and CI run. `make setup` needs git, make and a Python of 3.11 to 3.13 with its venv module, nothing else.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help
# Where it is set, each of the hundreds of processes that tests and the demo start would compile the same files again.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
# Which Python makes .venv; empty: the first suitable one of PYTHONS.
PYTHON ?=
PYTHONS := python3 python3.13 python3.12 python3.11
# Processes that tests run in; each file's tests are in one (tests/conftest.py). Empty: four for `make test`, whose tests wait for half
# of their time, and two for `make test-fast`, whose tests don't.
WORKERS ?=
# How long `make soak` tries, and what it begins with; empty: something new.
SOAK_MINUTES ?= 30
SOAK_SEED ?=

.PHONY: help setup demo test test-fast soak test-packages bench check check-lint check-format check-types check-rooms check-generated lock clean

help: ## What there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# --- setup ------------------------------------------------------------------------------------------------------------

# Each step leaves a stamp, so that a second `make setup` does nothing, and a changed lock file is enough to run it again.
setup: $(VENV)/.project ## .venv with everything in requirements.lock, and the project itself
	@:

$(VENV)/.made:
	@suits() { "$$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }; \
	found=""; \
	for candidate in $(or $(PYTHON),$(PYTHONS)); do \
	    if command -v "$$candidate" >/dev/null && suits "$$candidate"; then found="$$candidate"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "make setup: no Python of 3.11 to 3.13 among: $(or $(PYTHON),$(PYTHONS))." >&2; \
	    echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: make setup PYTHON=/path/to/python3.12" >&2; \
	    exit 1; \
	fi; \
	if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
	    version="$$("$$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"; \
	    echo "make setup: $$found (Python $$version) lacks its venv module." >&2; \
	    echo "Install it (Debian, Ubuntu: apt-get install python$$version-venv, or python3-venv), then run make setup again." >&2; \
	    exit 1; \
	fi; \
	"$$found" -m venv $(VENV)
	@touch $@

# Without resolving: the lock file is complete, and Debian 12's pip looks at versions of an extra that aren't the pinned one.
$(VENV)/.locked: requirements.lock $(VENV)/.made
	@echo "installing what requirements.lock names, about a minute"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $@

# setuptools comes from the lock file too: an isolated build would fetch an unpinned one. Its warning of what an editable
# installation means is no news to who made it.
$(VENV)/.project: pyproject.toml $(VENV)/.locked
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# --- use --------------------------------------------------------------------------------------------------------------

demo: setup ## A site on this machine, from blueprint to extracted files; KEEP=1 stays for a look at the UI
	$(BIN)/python -m demo

PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

test: setup test-packages ## All tests but the long matrices
	$(PYTEST) -n $(or $(WORKERS),4) -m "not soak" $(ARGS)

test-fast: setup ## Tests that need nothing but the code, out of every room, with few examples: while you type
	$(PYTEST) -n $(or $(WORKERS),2) -m "not (soak or real or slow)" --hypothesis-profile fast $(ARGS)

soak: setup test-packages ## Kills, failing calls and power cuts at every operation, for SOAK_MINUTES (30); SOAK_SEED repeats one
	$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES) $(if $(SOAK_SEED),--seed $(SOAK_SEED))
	$(BIN)/python -m tests.trees
	$(PYTEST) -n $(or $(WORKERS),2) -m soak

# The real parts that tests talk to; if they can't be installed, those tests say what they lack.
test-packages:
	@tests/install-system-packages

# The peers that it compares with; one that can't be installed is left out, and the table says so.
bench: setup ## Sends, builds and deltas against other tools, and what a send run costs; every number in bench/results*.json
	@bench/install-peers
	$(BIN)/python -m bench.send --json bench/results.json $(ARGS)
	$(BIN)/python -m bench.send_queue --json bench/results-queue.json
	$(BIN)/python -m bench.deltas --json bench/results-deltas.json

# --- check ------------------------------------------------------------------------------------------------------------

# Cheapest first. A further guard is a target of its own, listed here.
check: check-lint check-format check-types check-rooms check-generated ## Everything that is judged without running it

check-lint: setup
	$(BIN)/ruff check .

check-format: setup
	$(BIN)/ruff format --check .

check-types: setup
	$(BIN)/mypy

check-rooms: setup
	$(BIN)/lint-imports

check-generated: setup
	$(BIN)/python -m infra.generate --check

# --- maintenance ------------------------------------------------------------------------------------------------------

# Keeps the versions that are locked unless pyproject.toml rules them out; UPGRADE=1 takes the newest allowed.
# Only the package index is asked: hashes of a file that merely lies on this machine would fit nowhere else.
lock: setup ## requirements.lock anew, for all of Python 3.11 to 3.13 on Linux
	env -u UV_FIND_LINKS -u UV_INDEX -u UV_EXTRA_INDEX_URL $(BIN)/uv pip compile pyproject.toml --all-extras \
	    --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
	    $(if $(UPGRADE),--upgrade) --quiet --output-file requirements.lock
	@! grep -nE '^--|://' requirements.lock || { echo "make lock: an address got into requirements.lock" >&2; exit 1; }

clean: ## Remove what can be made again, .venv included
	rm -rf $(VENV) build dist ./*.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .grimp_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
