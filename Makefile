# Two commands for a fresh clone: `make demo` runs the default study, `make test` the test suite.
# Both make .venv first; only Python ≥ 3.11 (with pip) and make are needed.

PYTHON ?= python3
CORES ?= 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo label-demo test test-all lint install

demo: install
	PYTHONPATH=workflow/plugins $(BIN)/snakemake -c$(CORES) --logger=oneline
	$(BIN)/snakemake --report report.html --quiet all
	@echo
	@cat results/tables/summary.txt
	@echo
	@cat results/tables/findings.txt
	@echo
	@echo "Figures: results/figures/   Tables: results/tables/   Report: report.html (open it in a browser)"

# A campaign on handwritten digits: opens the first batch. ANSWERS=simulated answers three batches instead of a person.
LABEL := PYTHONPATH=workflow/plugins $(BIN)/snakemake -c$(CORES) --logger=oneline --configfile config/label.yaml -- label
label-demo: install
	PYTHONPATH=workflow/plugins $(BIN)/snakemake -c1 --logger=oneline -- example_images
	$(LABEL)
ifeq ($(ANSWERS),simulated)
	for batch in 1 2 3; do \
	  PYTHONPATH=workflow/scripts $(BIN)/python -m labelbench.labelling.rehearsal labelling/digits results/example_truth.csv \
	    && $(LABEL) || exit 1; done
endif

# One worker more than cores: tests of Slurm wait, for minutes in all.
PYTEST := $(BIN)/python -m pytest -n $(shell expr $(CORES) + 1) --dist loadfile

test: install lint
	$(PYTEST)

# The slow ones, too: minutes each, for changes of what they name.
test-all: install lint
	$(PYTEST) -m "slow or not slow"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile rules
	PYTHONPATH=workflow/scripts $(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/snakemake --lint

install: $(VENV)/installed

# The stamp is written last, so an interrupted installation is done again.
$(VENV)/installed: envs/requirements.txt envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
	  "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11 …")'
	@echo "Installing into $(VENV): some minutes and up to several GB, for torch brings its own CUDA on most systems."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet -r envs/requirements.txt -c envs/constraints.txt
	@# For plain runs, too: profiles/default uses the progress line where it is found.
	@echo $(CURDIR)/workflow/plugins > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/labelbench_plugins.pth"
	@touch $@
