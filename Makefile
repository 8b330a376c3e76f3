# `make demo` and `make test` set up everything they need; see README.md.
VENV ?= .venv
export VENV

.PHONY: help demo test setup lint docs generated screenshots benchmarks wheel clean

help:
	@echo "make demo    set up, then run the main job on the sample data (in napari when there is a display)"
	@echo "make test    set up, then run the tests (PYTEST_ARGS='-k region' to choose some)"
	@echo "make setup   only set up: system libraries for Qt and the virtual environment in $(VENV)"
	@echo "make lint    ruff, mypy, import contracts, shell scripts' syntax"
	@echo "make docs    build the documentation into site/"
	@echo "make generated, make screenshots, make benchmarks   rewrite the tables, pictures and numbers in the documentation"
	@echo "make clean   remove what the other targets made"

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

setup:
	@scripts/setup.sh

lint: setup
	@scripts/lint.sh

docs: setup
	@scripts/docs.sh

generated: setup
	$(VENV)/bin/python docs/make_parameter_tables.py
	$(VENV)/bin/python benchmarks/report.py

screenshots: setup
	@scripts/on_display.sh $(VENV)/bin/python docs/make_screenshots.py
	@$(VENV)/bin/python docs/make_figures.py

benchmarks: setup
	@scripts/on_display.sh $(VENV)/bin/python benchmarks/record_all.py

wheel: setup
	$(VENV)/bin/python -m pip wheel --no-deps --wheel-dir dist .

clean:
	rm -rf "$(VENV)" build dist site recon-demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
