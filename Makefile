# Two commands do everything: make demo, and make test.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
MARK   := $(VENV)/.installed
# One baseline is built from source; without a compiler it is left out, and says so when asked for.
EXTRAS := dev$(if $(shell command -v cc),$(shell echo ,)lightfm)

.DEFAULT_GOAL := help
.PHONY: help install demo test check cluster-test wheel format clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(MARK)  ## an environment of its own in .venv, pinned, and Spark's Delta JAR

$(MARK): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode \
		--constraint constraints.txt --editable '.[$(EXTRAS)]'
	@command -v java >/dev/null || test -n "$$JAVA_HOME" || { $(BIN)/tasteprint doctor; exit 1; }
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/spark-submit --properties-file spark.conf jobs/session.py 2>$(VENV)/delta.log || { cat $(VENV)/delta.log; exit 1; }
	@touch $(MARK)

demo: install  ## simulate listeners and go the whole way, to promoted vectors
	$(BIN)/tasteprint doctor
	$(BIN)/tasteprint run

test: install  ## all tests
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest

check: install  ## what CI runs: format, lint, types, import directions, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

cluster-test: install  ## Ray and Spark on three hosts that are namespaces, with power cuts; as root, ten minutes; no part of test
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -m cluster -s tests/cluster

wheel: install  ## what ray up carries to the hosts: the package and its pins, in build/wheel
	rm -rf build/wheel
	$(BIN)/uv build --quiet --wheel --build-constraints constraints.txt --out-dir build/wheel
	cp constraints.txt build/wheel

format: install  ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the environment and everything that was run
	rm -rf $(VENV) var build *.egg-info
