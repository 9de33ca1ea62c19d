# Needs python3 (3.11 or newer) with pip and venv, GNU make, and a package index. Everything else goes
# into .venv, and each target sets up what it needs. Another Python: make demo PYTHON=python3.13
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The lock says which versions; where one of them can't be had (a new Python, an index that lacks it),
# the newest that pyproject.toml allows are better than no installation.
PINNED = -c $(VENV)/pins.txt
UNPINNED = || { echo "the pinned versions can't be had here: taking the newest that fit" >&2; 

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format lock bench bench-full faults serve clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(VENV)/.setup ## make .venv with the playhead command
	@:

$(VENV)/.setup: pyproject.toml uv.lock tools/pins.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Playhead needs Python 3.11 or newer, not %d.%d: make $(MAKECMDGOALS) PYTHON=python3.13" % sys.version_info[:2])'
	@echo "setting up $(VENV), about half a minute" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python tools/pins.py >$(VENV)/pins.txt
	@$(PIP) install $(PINNED) -e . $(UNPINNED) $(PIP) install -e .; }
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup
	@$(BIN)/python tools/pins.py --group dev >$(VENV)/dev.txt
	@$(PIP) install $(PINNED) -r $(VENV)/dev.txt $(UNPINNED) $(PIP) install -r $(VENV)/dev.txt; }
	@touch $@

demo: $(VENV)/.setup ## convert, index, replay 200 pages: under a minute, nothing to start
	@$(BIN)/playhead demo $(ARGS)

serve: $(VENV)/.setup ## the HTTP API on http://127.0.0.1:8080
	@$(BIN)/playhead serve $(ARGS)

test: $(VENV)/.setup-dev ## all tests (make test ARGS="-m 'not slow'" for the quick loop)
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.setup-dev ## style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy src tests tools $(if $(wildcard bench/*.py),bench)
	@$(BIN)/lint-imports --no-logo importlinter.toml

format: $(VENV)/.setup-dev ## mend what ruff can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(VENV)/.setup-dev ## renew uv.lock
	@$(PIP) install uv
	@$(BIN)/uv lock --upgrade

bench: $(VENV)/.setup-dev ## figures against bare code, a minute or two
	@$(BIN)/python -m bench $(ARGS)

bench-full: $(VENV)/.setup-dev ## the same at full size
	@$(BIN)/python -m bench --full $(ARGS)

faults: $(VENV)/.setup-dev ## kill -9 at every step: prints lost / doubled / uncertain
	@$(BIN)/python -m bench.faults $(ARGS)

clean: ## remove .venv, caches and what the demo made
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist demo
