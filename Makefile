# A thin front door. `make help` lists what there is; the work is done by Snakefile and
# workflow/. Needs Python 3.11 or newer and make, nothing else.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help environment book test lab bench assignments grade gradebook minutes pdf data battlefield-art runs record adopt clean

find_python = for p in python3 python3.13 python3.12 python3.11 python; do \
  "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && { echo "$$p"; break; }; done
PYTHON ?= $(shell $(find_python))
PY := .venv/bin/python
PROFILE ?=
CSV ?= grades.csv
JOBS ?= $(shell $(PYTHON) -c 'import os; print(min(2, os.cpu_count() or 1))')

# uv reads no pip setting; a folder of wheels given to pip serves uv too.
export UV_FIND_LINKS := $(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS))
# One thread a process: several run side by side.
export OMP_NUM_THREADS ?= 1
# Memory of freed tensors stays with the process (glibc): training is about a tenth faster.
export MALLOC_MMAP_THRESHOLD_ ?= 1073741824
export MALLOC_TRIM_THRESHOLD_ ?= 8589934592

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s%s\n", $$1, $$2}' Makefile

environment:  ## .venv with everything the book needs (the targets below call it)
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found (tried" \
	  "python3, python3.13, python3.12, python3.11, python). Install one, or name" \
	  "it: make book PYTHON=/path/to/python3" >&2; exit 2; }
	@"$(PYTHON)" workflow/environment.py

book: environment  ## execute the chapters, build the site [PROFILE=quick JOBS=2 CLUSTER=]
	@$(PY) workflow/flow.py book --profile "$(PROFILE)" --jobs $(JOBS) --cluster "$(CLUSTER)"

test: environment  ## check everything: library, chapters, site, hygiene, assignments
	@$(PY) workflow/check.py --jobs $(JOBS)

lab: environment  ## open the notebooks in JupyterLab
	@$(PY) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks

bench: environment  ## measure how fast the library is on this machine
	@$(PY) benchmarks/run.py

assignments: environment  ## write the students' copies of the assignments
	@$(PY) workflow/assignments.py release

grade: environment  ## grade submissions: FOLDER=… [CSV=grades.csv]
	@$(PY) workflow/assignments.py grade "$(FOLDER)" --csv "$(CSV)"

gradebook: environment  ## renew the template grade book [GRADES=grades.csv CSV=…]
	@$(PY) workflow/gradebook.py $(if $(GRADES),--grades "$(GRADES)" --csv "$(CSV)")

minutes: environment  ## note how long the executed chapters took, in book/minutes.json
	@$(PY) workflow/minutes.py

pdf: environment  ## print the built site into one file, _build/book.pdf
	@$(PY) workflow/pdf.py

data: environment  ## build every data pack from its public original
	@$(PY) -m saccade_lib.data.packs all

battlefield-art: environment  ## fetch the art of Bos Wars (GPL) with apt, without root
	@$(PY) -m saccade_lib.data.sprites

runs: environment  ## which recorded runs the tables still lack, and their commands
	@$(PY) workflow/runs.py list

record: environment  ## make recorded runs: RUN=… PROFILE=… [SEED=… JOBS=2 CLUSTER=]
	@$(PY) workflow/flow.py record "$(RUN)" --profile "$(PROFILE)" --seed "$(SEED)" \
	  --jobs $(JOBS) --cluster "$(CLUSTER)"

adopt: environment  ## give the book its address: URL=https://github.com/OWNER/NAME
	@$(PY) workflow/adopt.py "$(URL)"

clean:  ## delete what was made, but not .venv, records or unfinished training
	@test ! -d _build || find _build -mindepth 1 -maxdepth 1 ! -name runs \
	  -exec rm -rf {} +
	@rm -rf .snakemake .pytest_cache .ruff_cache .hypothesis *.egg-info
