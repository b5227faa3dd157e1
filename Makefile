# Each target sets up what it needs: a virtual environment with the versions in constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTABLE := $(VENV)/.ready-test
# Where there is no NVIDIA GPU, PyTorch's CPU build (200 MB) is taken instead of the CUDA build (several GB).
TORCH_INDEX ?= $(shell command -v nvidia-smi >/dev/null 2>&1 || echo "--extra-index-url https://download.pytorch.org/whl/cpu")
# Told by variables, the constraints hold for what builds the package, too.
PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	$(BIN)/python -m pip --disable-pip-version-check install -qq --retries 2 --timeout 60
LOG := $(VENV)/pip.log
# A process of the tests for each core; which tests go together, and in which order, says tests/conftest.py.
PROCESSES := -n auto --dist loadfile --no-loadscope-reorder
QUICK := tests/test_architecture.py tests/test_additions.py tests/charts/test_bars.py \
	tests/engine/test_dynamics.py tests/engine/test_update.py tests/language/test_parser.py tests/statements/test_statements.py \
	tests/trajectory/test_recording.py
FAILED = { echo "aadsl: $(1): $$(grep -m1 ^ERROR $(LOG) | cut -c8- | cut -c-200) (more in $(LOG); is the package index within reach?)"; exit 1; }

.PHONY: help setup demo picture pictures tutorials solutions test long quick lint format words diagram figures peers paper clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

# The networks of the tests and tutorials are small: a second thread costs them more than it brings.
test long quick tutorials solutions: export OMP_NUM_THREADS ?= 1
# Dozens of processes read the same sources: they are compiled once, whatever the environment says.
test long quick solutions: export PYTHONDONTWRITEBYTECODE =

setup: $(TESTABLE)  ## create .venv with everything the other targets need

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "aadsl: $(PYTHON) not found; install Python 3.11 or newer, or say: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "aadsl: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1 | grep Python || echo something else); say: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "aadsl: Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "aadsl: setting up $(VENV) (about a minute once the packages are downloaded)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) $(TORCH_INDEX) torch >$(LOG) 2>&1 || $(call FAILED,PyTorch could not be installed)
	@$(PIP) --editable . >$(LOG) 2>&1 || $(call FAILED,the packages could not be installed)
	@touch $@

$(TESTABLE): $(READY)
	@echo "aadsl: installing what the tests need"
	@$(PIP) --editable '.[test]' >$(LOG) 2>&1 || $(call FAILED,the packages for the tests could not be installed)
	@touch $@

demo: $(READY)  ## record a real training run, attribute it, write demo/index.html
	@$(BIN)/python tutorials/demo.py

picture: $(READY)  ## draw the chart of the README anew
	@$(BIN)/python tutorials/demo.py --picture tutorials/timeline.png

pictures: $(TESTABLE)  ## take the pictures of jupyter_ext/README.md anew, in a real JupyterLab
	@$(BIN)/python -m tests.notebook.pictures

tutorials: $(TESTABLE)  ## execute the tutorials, save them with their outputs, and write the pages beside them
	@$(BIN)/python -m nbconvert --log-level=ERROR --to notebook --execute --inplace tutorials/*.ipynb
	@$(BIN)/python tutorials/pages.py

solutions: $(TESTABLE)  ## run all tutorials and the solutions of their exercises
	@$(BIN)/python -m pytest -q $(PROCESSES) -m 'long or not long' tests/tutorials/test_notebooks.py

test: $(TESTABLE)  ## lint, types and the whole test suite
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest $(PROCESSES)

long: $(TESTABLE)  ## what the suite tests on small samples, on large ones; and all tutorials with their solutions
	@$(BIN)/python -m pytest $(PROCESSES) -m long

quick: $(TESTABLE)  ## a cut through all layers, for while one works
	@$(BIN)/python -m pytest -q $(PROCESSES) $(QUICK)

lint: $(TESTABLE)  ## style and types only
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(TESTABLE)  ## rewrite the sources in the project's style
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

words: $(READY)  ## write grammar/words.json anew, after a word of the language came or went
	@$(BIN)/python -c 'from aadsl.language.grammar import write_words; write_words()'

diagram: $(READY)  ## draw the arrows between the layers anew in aadsl/README.md
	@$(BIN)/python -m tests.architecture

figures: $(READY)  ## measure what README and pages quote, and write it there; PART=--help says what each part takes
	@$(BIN)/python -m tests.benchmarks.figures $(PART)

peers: $(READY)  ## other libraries beside us on the same runs, each in an environment of its own
	@$(BIN)/python -m tests.peers --pip="$(TORCH_INDEX)"

paper: $(READY)  ## the paper's experiments again, beside its figures; PART=table1 does one, DATA=FOLDER has its data sets
	@test -z "$(DATA)" || $(PIP) $(TORCH_INDEX) --editable '.[paper]' >$(LOG) 2>&1 || $(call FAILED,what reads the data sets could not be installed)
	@$(BIN)/python -m tests.paper $(PART) $(if $(DATA),--data "$(DATA)")

clean:  ## remove what the targets made
	rm -rf $(VENV) demo runs build dist *.egg-info
