# Needs GNU make, a package index, and CPython 3.11 to 3.13. Neither root nor Docker.
#
#   make up            everything until Ctrl-C; make up PORT=3001 for another port of the UI
#   make demo          the bundled examples, loaded without the UI, with the result of every check
#   make test          the whole test suite, with servers of its own; make test ARGS='-k embedded'
#   make soak          the long tests: load; GENOMICS_SOAK_FILES=60 make soak to try it
#   make bench         benchmarks against peers, with ratios
#   make down          stop the embedded servers
#   make lint fmt      what CI asks of the code
#   make soak          the long tests: many corrupt files, tens of thousands of mutated inputs
#   make audit sbom    known vulnerabilities of the locked dependencies; their bill of materials
#   make layout        write down what the migrations make, after one was added
#   make lock          resolve the dependencies of pyproject.toml anew

VENV := .venv
BIN := $(VENV)/bin
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.PHONY: up demo test soak bench lint fmt down audit sbom layout lock

# Tried by running, because a version manager's shims exist for Pythons that are not installed.
USABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(firstword $(foreach python,python3.13 python3.12 python3.11 python3,\
	$(shell $(python) -c '$(USABLE)' >/dev/null 2>&1 && echo $(python))))

# The Python that .venv was made with may be gone since.
ifneq ($(wildcard $(VENV)/made.done),)
ifneq ($(shell $(BIN)/python -c 'print(1)' 2>/dev/null),1)
$(shell rm -f $(VENV)/*.done)
endif
endif

up: $(VENV)/project.done
	$(BIN)/python -m genomics_assets up $(if $(PORT),--port $(PORT))

demo: $(VENV)/project.done
	$(BIN)/python -m genomics_assets demo

# More processes than cores: half of the time of many tests is waiting.
test: $(VENV)/project.done $(VENV)/dev.done
	$(BIN)/python -m pytest --numprocesses 4 --dist loadscope $(ARGS)

soak: $(VENV)/project.done $(VENV)/dev.done
	$(BIN)/python -m pytest -m soak --timeout 3600 tests $(ARGS)

bench: $(VENV)/project.done $(VENV)/dev.done
	$(BIN)/python -m benchmarks.variants $(ARGS)
	$(BIN)/python -m benchmarks.annotations $(if $(findstring --quick,$(ARGS)),--quick)
	$(BIN)/python -m benchmarks.gwas $(if $(findstring --quick,$(ARGS)),--quick)
	$(BIN)/python -m benchmarks.bmd $(if $(findstring --quick,$(ARGS)),--quick)
	$(BIN)/python -m benchmarks.verbal_autopsy

lint: $(VENV)/project.done $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(VENV)/dev.done
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

down:
	@if [ -x $(BIN)/python ] && [ -e $(VENV)/project.done ]; then $(BIN)/python -m genomics_assets down; fi

# What is known to be wrong with the locked runtime dependencies. It asks the registry, so it needs a network.
audit: $(VENV)/audit.done
	@$(BIN)/python -c 'import socket; socket.create_connection(("pypi.org", 443), 5)' 2>/dev/null || { \
	  echo 'make audit: skipped, for pypi.org does not answer; it needs a network' >&2; exit 0; } && \
	  $(BIN)/pip-audit --requirement requirements.lock --require-hashes --disable-pip --strict --progress-spinner off

# The bill of materials of the runtime dependencies, from the lock file alone.
sbom: $(VENV)/audit.done
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --of JSON -o sbom.cdx.json
	@echo sbom.cdx.json

# A server of its own, so that it meets no running checkout.
layout: $(VENV)/project.done
	@home=$$(mktemp -d) && GENOMICS_HOME=$$home $(BIN)/python -m resources.migrations.layout; status=$$?; \
	  GENOMICS_HOME=$$home $(BIN)/python -m genomics_assets down; rm -rf $$home; exit $$status

lock: UV := uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url
lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv: https://docs.astral.sh/uv' >&2; exit 1; }
	$(UV) -o requirements.lock
	$(UV) --extra kubernetes -o deploy/requirements.lock
	$(UV) --extra dev --extra kubernetes -o requirements-dev.lock
	$(UV) --extra audit -o requirements-audit.lock

# Each step leaves its mark only when it is complete, so that an interrupted one is simply done again.

$(VENV)/made.done:
	@if [ -z "$(PYTHON)" ]; then \
	  echo 'No usable Python. Remedy: install CPython 3.11, 3.12 or 3.13 with its venv module' >&2; \
	  echo '(Debian: apt install python3 python3-venv), or name one: make up PYTHON=/path/to/python3.12' >&2; \
	  exit 1; fi
	@$(PYTHON) -c '$(USABLE)' || { \
	  echo '$(PYTHON) is not CPython 3.11 to 3.13 with its venv module. Remedy: make up PYTHON=…' >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { set -x; $(PYTHON) -m venv --clear $(VENV); }
	@touch $@

# Without resolving: the lock files are complete, and older releases of pip stumble over extras in them.
$(VENV)/runtime.done: requirements.lock $(VENV)/made.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $@

$(VENV)/dev.done: requirements-dev.lock $(VENV)/runtime.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/audit.done: requirements-audit.lock $(VENV)/runtime.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-audit.lock
	@touch $@

# setuptools builds the project and its optional C parts; only the development lock pins it.
$(VENV)/build.lock: requirements-dev.lock $(VENV)/made.done
	@awk '/^setuptools==/ {found = 1} found {print; if (!/\\$$/) exit}' $< > $@

$(VENV)/project.done: pyproject.toml $(wildcard genomics_assets/variants/*.c resources/*.c) \
		$(VENV)/build.lock $(VENV)/runtime.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/build.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
