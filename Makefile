# Two commands do all on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

DATA ?= ../shared/data

.PHONY: help demo test lint fuzz bench results docs gallery release clean

help:
	@echo "make demo   learn from damaged digits and from one texture, write a report (about 5 minutes)"
	@echo "make test   run all tests"
	@echo "make lint   check style and types"
	@echo "make fuzz   damage files at random and read them, 30 s for each kind of file; Python 3.11 to 3.13"
	@echo "make bench  measure the cost of one Langevin step"
	@echo "make results  make the tables of docs/results.md again, from the data in DATA=$(DATA) (hours)"
	@echo "make docs   build the documentation"
	@echo "make gallery  make the pictures of the gallery and the tutorials again (about half an hour)"
	@echo "make release  build the wheel, check it, and run its demonstration in an environment that has nothing else"

# torch is installed by name and version first: later packages then find their requirement met.
# Most of what comes with it is never imported: Python compiles what is, when it is.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: $(READY)
	$(BIN)/abpnet demo --out runs/demo --overwrite

# Two files of tests at a time, of one thread each: threads of both would wait for one another.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadscope

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

SECONDS ?= 30
TARGETS := $(patsubst fuzz/%_target.py,%,$(wildcard fuzz/*_target.py))

fuzz: $(READY)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[fuzz]"
	for target in $(TARGETS); do $(BIN)/python fuzz/run.py $$target --seconds $(SECONDS) || exit 1; done

bench: $(READY)
	$(BIN)/python benchmarks/step.py

results: $(READY)
	$(BIN)/python benchmarks/results.py --data $(DATA)

docs: $(READY)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[docs]"
	$(BIN)/sphinx-build -W --keep-going docs docs/_build

gallery: $(READY)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[tables]"
	OMP_NUM_THREADS=1 $(BIN)/python docs/make_gallery.py

release: $(READY)
	rm -rf dist build/bare build/empty
	$(BIN)/python -m build --outdir dist
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv build/bare
	build/bare/bin/python -m pip install --quiet --no-compile --constraint constraints.txt dist/*.whl
	mkdir -p build/empty
	cd build/empty && ../bare/bin/abpnet demo

clean:
	rm -rf $(VENV) build dist docs/_build
