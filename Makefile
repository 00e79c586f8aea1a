# One command per habit. Everything runs in .venv, which is made when it is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The package index may be slow; it is not ours to hurry.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test lint bench clean
help:
	@echo 'make demo   hand real-shaped mails to sendmail, show what Graph (a stand-in on this machine) accepted'
	@echo 'make test   the tests'
	@echo 'make lint   ruff and mypy'
	@echo 'make bench  what sendmail costs, against a bare start of Python'
	@echo 'make clean  remove what the others made'

$(STAMP): pyproject.toml packaging/debian13-constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint packaging/debian13-constraints.txt --editable '.[test,lint]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m tests.demo

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	@$(BIN)/python -m tests.bench

clean:
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
