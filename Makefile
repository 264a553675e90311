# What the README tells people to run. Everything is installed into .venv, from the lock files;
# a second run installs nothing.

PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v $$each; break; }; done)
PIP = .venv/bin/python -m pip --disable-pip-version-check install --quiet
# a lock file is complete, so that nothing is left to resolve
LOCKED = $(PIP) --no-deps --require-hashes --requirement

PYTEST = .venv/bin/python -m pytest
# three on two processors: tests of real clusters wait for half of their time
IN_PARALLEL = --numprocesses 3 --dist worksteal
# of what decides, and by unit tests alone: a property reaches other branches each time
EVERY_BRANCH = $(PURE:%=--cov orchestrator/%) --cov-branch --cov-fail-under 100 --no-cov-on-fail \
	--cov-report term-missing:skip-covered
PURE = model planning scheduler

# Python keeps what it has compiled, whatever the shell says: not each process compiles all of it.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help up test chaos check format lint types layers units fmt lock clean

help:
	@echo "make up      run a whole cluster here (ARGS='--ha --reset' for options of orc up)"
	@echo "make test    run all tests (ARGS=tests/unit/test_keys.py for some of them)"
	@echo "make chaos   break real clusters for DURATION=300 seconds (SEED=1)"
	@echo "make check   run what is fast: format, lint, types, layers, unit tests"
	@echo "make fmt     format the code"
	@echo "make lock    take up new versions of what we depend on"
	@echo "make clean   remove .venv and caches; no cluster's data"

up: .venv/installed
	@.venv/bin/orc up $(ARGS)

test: .venv/installed-dev
ifeq ($(ARGS),)
	$(PYTEST) $(IN_PARALLEL) $(EVERY_BRANCH) tests/unit
	$(PYTEST) $(IN_PARALLEL) -m "not chaos" --ignore tests/unit
else
	$(PYTEST) $(ARGS)
endif

chaos: .venv/installed-dev
	CHAOS_SEED=$(or $(SEED),1) CHAOS_SECONDS=$(or $(DURATION),300) \
		$(PYTEST) $(or $(ARGS),tests/chaos)

# two at once: types take one processor, and tests wait now and then
check: .venv/installed-dev
	@$(MAKE) --no-print-directory --jobs 2 format lint layers types units

format:
	.venv/bin/ruff format --check .

lint:
	.venv/bin/ruff check .

types:
	.venv/bin/mypy

layers:
	.venv/bin/lint-imports

units:
	$(PYTEST) --quiet -m "not slow" $(IN_PARALLEL) tests/test_tidy.py tests/unit

fmt: .venv/installed-dev
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

lock: .venv/installed-dev
	$(PIP) uv
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes pyproject.toml --output-file requirements.lock
	.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --extra test --extra dev --constraint requirements.lock \
		pyproject.toml --output-file requirements-dev.lock

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/created:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or later is needed: install it," \
		"or say where it is: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) cannot make" \
		"virtual environments: run 'sudo apt-get install python3-venv'" >&2; exit 1; }
	@echo "creating .venv with $(PYTHON)"
	@$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/installed: .venv/created requirements.lock pyproject.toml
	@echo "installing what the orchestrator needs"
	@$(LOCKED) requirements.lock
	@$(PIP) --no-deps --editable .
	@touch $@

# the lock for tests has all that the other one has
.venv/installed-dev: .venv/created requirements-dev.lock pyproject.toml
	@echo "installing what the orchestrator and its tests need"
	@$(LOCKED) requirements-dev.lock --no-compile
	@$(PIP) --no-deps --editable .
	@touch .venv/installed $@
