# make pocket  the whole study in miniature, from nothing
# make test    the tests
# make check   ruff and mypy

PYTHON ?= python3
OUT ?= runs/pocket
# Processes that share the tests; each may hold an engine.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
# vLLM comes in two builds of the same version; a GPU decides which.
EXTRA := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: pocket test check setup clean

pocket: setup
	$(BIN)/driftbench reproduce pocket --out $(OUT)

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(VENV)/ready-$(EXTRA)

# --no-compile: byte code is made on first import, for what is used only.
$(VENV)/ready-$(EXTRA): pyproject.toml constraints.txt
	@echo "driftbench: installing the $(EXTRA) stack into $(VENV) (a GPU was $(if $(filter gpu,$(EXTRA)),,not )found); it takes minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@PIP_ROOT_USER_ACTION=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[$(EXTRA),dev]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info
