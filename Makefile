# What people call is what CI calls. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
ENGINE_VENV := .venv-engine
ENGINE_READY := $(ENGINE_VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test engine test-engine check format lab lock lock-engine clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

setup: $(READY)  ## build .venv from requirements.lock (a second call does nothing)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@echo "Set-up: building $(VENV) from requirements.lock (about half a minute, once)"
	@if command -v uv >/dev/null; then \
		uv venv --quiet --clear --python "$(PYTHON)" $(VENV) && \
		uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock && \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . ; \
	else \
		$(PYTHON) -m venv --clear $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . ; \
	fi
	@touch $@

demo: $(READY)  ## the whole main job on the embedded demo (simulated servers), about a minute
	$(BIN)/python -m poc_lib run --params params/demo.yaml

test: $(READY)  ## the tests
	$(BIN)/python -m pytest -m "not engine" -n auto --dist loadfile

engine: $(ENGINE_READY)  ## build .venv-engine, the real servers, from requirements-engine.lock

$(ENGINE_READY): requirements-engine.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@echo "Engine: building $(ENGINE_VENV) with vllm-mlx and mlx-vlm (1.2 GB, about a minute, once)"
	@if command -v uv >/dev/null; then \
		uv venv --quiet --clear --python "$(PYTHON)" $(ENGINE_VENV) && \
		uv pip install --quiet --python $(ENGINE_VENV)/bin/python --no-deps --require-hashes -r requirements-engine.lock ; \
	else \
		$(PYTHON) -m venv --clear $(ENGINE_VENV) && \
		$(ENGINE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
			-r requirements-engine.lock ; \
	fi
	@touch $@

test-engine: $(READY) $(ENGINE_READY)  ## the same contract against simulator and real servers (a tiny random model)
	$(BIN)/python -m pytest tests/engine

check: $(READY)  ## lint, format, notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb

format: $(READY)  ## bring code and notebooks into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

lab: $(READY)  ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=notebooks

lock:  ## resolve requirements.lock anew (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --extra dev pyproject.toml \
		--output-file requirements.lock --no-annotate --no-emit-index-url --no-header --quiet
	sed -E -e '/^ +--hash/d' -e 's/ *\\$$//' requirements.lock > constraints.txt

lock-engine:  ## resolve requirements-engine.lock anew (needs uv)
	uv pip compile requirements-engine.in --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --no-emit-index-url --quiet \
		--override requirements-engine-overrides.txt --output-file requirements-engine.lock

clean:  ## remove both environments and caches; outputs stay
	rm -rf $(VENV) $(ENGINE_VENV) .pytest_cache .ruff_cache *.egg-info build
