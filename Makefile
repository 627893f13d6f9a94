# Two commands on a fresh machine: `make demo` and `make test`. Both set up .venv first.
#   make demo                     draw the built-in faces, train, validate, draw the curves
#   make test                     run the tests
#   make lint                     ruff and mypy
#   make smoke                    the tests that another Python, NumPy or C library would fail first
#   make docs                     the documentation site, into site/, warnings as errors
#   make lock                     take the newest allowed versions into requirements*.txt, then run the tests;
#                                 UPGRADE= only takes in what pyproject.toml has changed
#   make sbom                     a bill of materials of what .venv holds, CycloneDX: sbom.json
#   make audit                    what is known against the locked packages (asks PyPI's advisories)
#   make gpu-requirements         install the GPU stack into .venv-gpu and import it with a stub for the driver; no GPU needed
#   PYTHON=python3.9 make setup   choose the Python; ENGINE=torch or ENGINE="mxnet torch" chooses the engine,
#                                 REQUIREMENTS=requirements-cpu.txt the file

VENV ?= .venv
# The first Python here that the project runs on; a version manager's shim may exist without its Python.
PYTHON ?= $(shell for p in python3.11 python3.10 python3.9 python3.8 python3.12 python3.13 python3.14 python3; do \
	$$p -c '' 2>/dev/null && echo $$p && break; done)
ENGINE ?=
REQUIREMENTS ?=
DEMO_DATA ?= data/demo
DEMO_RUN ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)
CORES := $(shell nproc 2>/dev/null || echo 2)
BIN = $(VENV)/bin

.PHONY: setup demo test smoke lint docs lock sbom audit gpu-requirements

setup:
	@test -n "$(PYTHON)" || { echo "no Python found; install Python 3.8 to 3.14"; exit 2; }
	@PYTHONPATH=src $(PYTHON) -m arcface_mxnet.runtime.setup --venv $(VENV) $(if $(ENGINE),--engine $(ENGINE)) $(if $(REQUIREMENTS),--requirements $(REQUIREMENTS))

demo: setup
	@$(BIN)/python datasets/prepare.py synthetic --out $(DEMO_DATA)
	@$(BIN)/python recognition/train.py --network demo --loss arcface --dataset demo --data-dir $(DEMO_DATA) \
		--run-dir $(DEMO_RUN)
	@$(BIN)/python logs/plot.py $(DEMO_RUN) --with none

# One worker a core and one OpenMP thread a worker: MXNet's own threads would fight over the cores.
test: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --dist loadfile $(TESTS)

SMOKE = tests/runtime $(addprefix tests/datasets/test_,align.py elementary.py recordio.py records.py synthetic.py) \
	tests/graph tests/evaluation/test_metrics.py \
	$(addprefix tests/recognition/test_,checkpoint.py train.py trainer.py)
smoke: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(CORES) --dist loadfile -m "not slow" $(SMOKE)

docs: setup
	@$(BIN)/python -m mkdocs --version >/dev/null 2>&1 || $(BIN)/python -m pip install --disable-pip-version-check -q --no-deps -r requirements-docs.txt
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo site/index.html

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/mypy

# One file for every Python and platform, with hashes. MXNet is named beside its extra, which leaves it out where pip
# could not resolve it; setting up installs without resolving.
UPGRADE ?= --upgrade
LOCK = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.8 --generate-hashes --no-annotate \
	--custom-compile-command "make lock" --quiet $(UPGRADE)
LOCKED_EXTRAS = $(addprefix --extra ,onnxruntime openvino search tensorboard dev)
lock: setup
	@$(BIN)/python -m pip install --disable-pip-version-check -q uv
	@echo mxnet==1.9.1 | $(LOCK) - $(LOCKED_EXTRAS) --extra mxnet -o requirements-cpu.txt
	@echo mxnet-cu112==1.9.1 | $(LOCK) - $(LOCKED_EXTRAS) --extra gpu -o requirements.txt
	@$(LOCK) $(LOCKED_EXTRAS) --extra torch -o requirements-torch.txt
	@$(LOCK) --extra docs -c requirements-cpu.txt -o requirements-docs.txt
	@$(MAKE) test

# The tools have environments of their own: what they need is no part of the project.
sbom: setup
	@test -x $(VENV)-tools/bin/cyclonedx-py || { $(PYTHON) -m venv $(VENV)-tools && $(VENV)-tools/bin/pip install -q cyclonedx-bom; }
	@$(VENV)-tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o sbom.json $(BIN)/python
	@echo sbom.json

audit: setup
	@test -x $(VENV)-tools/bin/pip-audit || { $(PYTHON) -m venv $(VENV)-tools && $(VENV)-tools/bin/pip install -q pip-audit; }
	@$(VENV)-tools/bin/pip-audit --no-deps --disable-pip -r requirements-cpu.txt

gpu-requirements:
	@test -n "$(PYTHON)" || { echo "no Python found; install Python 3.8 to 3.14"; exit 2; }
	@PYTHONPATH=src $(PYTHON) -m tests.runtime.gpu_requirements --venv .venv-gpu
