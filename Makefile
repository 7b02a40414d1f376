# make demo   sets up, verifies a small aircraft-advisory network, and checks the certificate
# make test   sets up with the development tools, and runs the tests
# make gate   everything that a change must pass
#
# Both set up a virtual environment in $(VENV) with $(PYTHON), which must be Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT := out
BUILT_FROM := pyproject.toml $(wildcard setup.py checker_fast/*.c runtime_cuda/*.c runtime_cuda/*.h)

NETWORK := examples/networks/avoidance.onnx
HOLDS := examples/properties/avoidance_astern_is_clear.vnnlib
FAILS := examples/properties/avoidance_wide_is_clear.vnnlib
CERTIFICATE := $(OUT)/avoidance_astern_is_clear.nnc

.PHONY: demo test gate clean

demo: $(VENV)/.installed
	@mkdir -p $(OUT)
	@echo "# farkas verify $(NETWORK) $(HOLDS)"
	@$(BIN)/farkas verify $(NETWORK) $(HOLDS) --quiet --certificate $(CERTIFICATE)
	@echo "# farkas check $(CERTIFICATE)"
	@$(BIN)/farkas check $(CERTIFICATE) --network $(NETWORK) --property $(HOLDS)
	@echo "# farkas verify $(NETWORK) $(FAILS)"
	@$(BIN)/farkas verify $(NETWORK) $(FAILS) --quiet

test: $(VENV)/.developing
	$(BIN)/python -m pytest

gate:
	.ci/run

$(VENV)/.installed: $(BUILT_FROM) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.developing: $(BUILT_FROM) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@ $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than Python 3.11; say which to use: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(OUT) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
