# make demo   installs everything into .venv, trains a small ViTPose and a detector on generated people and uses them
# make test   installs the same, then lint and the whole test suite
# make lint | format | doctor | clean
# PYTHON chooses the interpreter (3.11 or 3.12) when .venv is made: make demo PYTHON=python3.12

SUITS = import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(or $(shell for python in python3 python3.11 python3.12; do \
	$$python -c '$(SUITS)' 2>/dev/null && echo $$python && break; done),python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
export PYTHONUNBUFFERED := 1

.PHONY: demo test lint format doctor install clean
.DEFAULT_GOAL := test

demo: $(INSTALLED)
	$(BIN)/python tools/demo.py

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

doctor: $(INSTALLED)
	$(BIN)/vitpose-mm doctor

install: $(INSTALLED)

$(INSTALLED): requirements.txt requirements/build.txt requirements/tests.txt requirements/lint.txt \
		requirements/install.py requirements/cxx setup.py
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or 3.12 is needed and \`$(PYTHON)\` is not found."; exit 1; }
	@$(PYTHON) requirements/install.py
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info work_dirs
