# What people call is what CI calls. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
ENGINES := .venv-engine .venv-engine-replay
LOCK_ENGINE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --quiet --override requirements-engine-overrides.txt
FAST_BLAS := $(wildcard /usr/lib/*-linux-gnu/openblas-pthread/libopenblas.so.0)

.DEFAULT_GOAL := help
.PHONY: help setup demo pages test engine engine-replay test-engine check size format lab lock lock-engine clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

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
	@# what a notebook shows of your own screen never reaches git (see .gitattributes)
	@git config filter.nbstripout.clean '"$(abspath $(BIN))/python" -m nbstripout --keep-id' 2>/dev/null || true
	@touch $@

demo: $(READY)  ## the whole job on the embedded demo (simulated servers), about a minute
	$(BIN)/python -m poc_lib run --params params/demo.yaml

pages: $(READY)  ## HTML pages of the newest run's executed notebooks
	$(BIN)/python -m poc_lib pages

test: $(READY)  ## the tests
	$(BIN)/python -m pytest -m "not engine" -n auto --dist loadfile

engine: .venv-engine/.installed  ## build .venv-engine, the real servers, from requirements-engine.lock

engine-replay: .venv-engine-replay/.installed  ## the same with vllm-mlx 0.5.0, whose prefix cache replays other images' answers

.venv-%/.installed: requirements-%.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@echo "Engine: building .venv-$* with vllm-mlx and mlx-vlm (1.2 GB, about a minute, once)"
	@if command -v uv >/dev/null; then \
		uv venv --quiet --clear --python "$(PYTHON)" .venv-$* && \
		uv pip install --quiet --python .venv-$*/bin/python --no-deps --require-hashes -r $< ; \
	else \
		$(PYTHON) -m venv --clear .venv-$* && \
		.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $< ; \
	fi
	@touch $@

test-engine: $(READY) $(ENGINES:=/.installed)  ## the same contract on simulator and real servers; a model that reads on real servers
ifeq ($(shell uname)$(FAST_BLAS),Linux)
	@echo "Engine: the servers are about five times slower without Debian's libopenblas0-pthread"
	@[ "$$(id -u)" != 0 ] || { apt-get update --quiet=2 && \
		apt-get install --quiet=2 --yes --no-install-recommends libopenblas0-pthread; } 2>/dev/null || true
endif
	$(BIN)/python -m pytest tests/engine

check: $(READY)  ## lint, format, notebooks without outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb

format: $(READY)  ## bring code and notebooks into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

size: $(READY)  ## how large the project is, against its plan
	$(BIN)/python benchmarks/size.py

lab: $(READY)  ## open JupyterLab on the project
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks/setup_check.ipynb

lock:  ## resolve requirements.lock anew (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --extra dev pyproject.toml \
		--output-file requirements.lock --no-annotate --no-emit-index-url --no-header --quiet
	sed -E -e '/^ +--hash/d' -e 's/ *\\$$//' requirements.lock > constraints.txt

lock-engine:  ## resolve requirements-engine.lock anew, and with 0.5.0 requirements-engine-replay.lock (needs uv)
	$(LOCK_ENGINE) requirements-engine.in --output-file requirements-engine.lock
	cp requirements-engine.lock requirements-engine-replay.lock
	sed 's/vllm-mlx==.*/vllm-mlx==0.5.0/' requirements-engine.in | \
		$(LOCK_ENGINE) - --output-file requirements-engine-replay.lock

clean:  ## remove both environments and caches; outputs stay
	rm -rf $(VENV) $(ENGINES) .pytest_cache .ruff_cache *.egg-info build
