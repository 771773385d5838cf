# Two lanes: `make test` needs no system package and no sudo; `make test-all` adds real servers and a browser.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FLINK := .venv-flink
FLINK_STAMP := $(FLINK)/.installed

.PHONY: help demo test test-all flink faults lint types check clean

help:
	@echo "make demo      install, fetch MovieLens-1M, train, compare, and play the loop live (under 5 minutes)"
	@echo "make test      install and run every test that needs no system package"
	@echo "make test-all  the same and the tests that start servers or a browser"
	@echo "make flink     install Apache Flink into $(FLINK), an environment of its own, for headwater stream --runtime flink"
	@echo "make faults    kill the nearline stream, writers of its store and publishers of knowledge at random moments (some minutes)"
	@echo "make check     ruff and pyright"
	@echo "make clean     remove $(VENV), $(FLINK) and caches (data and releases in .headwater stay)"

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Headwater needs Python 3.11 or newer; $$($(PYTHON) --version) was found. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into $(VENV) (once, a minute or two) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(FLINK_STAMP): requirements-flink.txt
	@echo "Installing Apache Flink into $(FLINK) (once, some minutes) ..."
	@test -x $(FLINK)/bin/python || $(PYTHON) -m venv $(FLINK)
	@$(FLINK)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-flink.txt
	@$(FLINK)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

flink: $(FLINK_STAMP)

demo: $(STAMP)
	$(BIN)/headwater demo

test: $(STAMP)
	$(BIN)/python -m pytest -m 'not servers' -n 2 $(ARGS)

test-all: $(STAMP) $(FLINK_STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,ray]'
	$(BIN)/python -m pytest -n 2 $(ARGS)

faults: $(STAMP)
	HEADWATER_KILLS=100 $(BIN)/python -m pytest -n 0 tests/nearline/test_local.py tests/store/test_valuelog.py -k killed $(ARGS)
	HEADWATER_PUBLISHES=100 HEADWATER_KILLS=20 $(BIN)/python -m pytest -n 0 tests/knowledge/test_center_faults.py $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types

clean:
	rm -rf $(VENV) $(FLINK) .pytest_cache .ruff_cache build dist
