# Two commands from a bare clone:
#   make demo    installs everything into .venv and runs the demo
#   make test    installs everything into .venv and runs the tests
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# hundreds of processes of the tests would each compile what they import
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test slow check install clean

demo: $(INSTALLED)
	$(BIN)/mslm demo

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

slow: $(INSTALLED)
	$(BIN)/mslm models pull minilm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --ignore tests/fault
	OMP_NUM_THREADS=1 MSLM_ALL_FAULTS=1 $(BIN)/python -m pytest -m '' --numprocesses 2 --dist worksteal tests/fault
	$(BIN)/python benchmarks/faults.py --quick

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 15) else "mslm needs Python 3.11 to 3.14, this is %d.%d: make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist
