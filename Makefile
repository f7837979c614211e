# make demo   install into .venv, segment the example clip, results in demo-output/
# make test   install into .venv, then lint, types and tests
# make soak   two hours of live use with all that can go wrong, MINUTES=5 for a short look
# make site   the documentation as a site in build/site
# PYTHON=python3.12 chooses the interpreter, OPENCV=opencv-python-headless skips the trial of the other one.

PYTHON ?= python3
OPENCV ?= opencv-python
DATA ?= ../shared/data
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help venv demo test check lint types pytest site docs-commands gallery test-ray release-check container-check fuzz format model-report identity-report studio-report gpu-report bench soak clean

help:
	@sed -n '1,5s/^# //p' Makefile

venv: $(VENV)/.dev

demo: $(VENV)/.runtime
	$(BIN)/sipvideo video examples/pedestrians.mp4 --output demo-output
	@echo 'Now play demo-output/pedestrians/video.mp4'

test check: lint types pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The folders apps/ and configs/ are the packages sipvideo.apps and sipvideo.configs only once installed;
# links show mypy the same tree. The newest numpy for Python 3.10 has other type stubs, with which sound code is refused.
types: $(VENV)/.dev
	@rm -rf build/types && mkdir -p build/types/sipvideo
	@cd build/types/sipvideo && ln -s ../../../sipvideo/* ../../../apps ../../../configs .
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  cd build/types && ../../$(BIN)/mypy --config-file ../../setup.cfg --cache-dir ../../.mypy_cache -p sipvideo; \
	else echo 'types: checked on Python 3.11 and newer only'; fi

# A file of tests stays in one process, so that what it sets up is set up once; in their order, in which the slowest are
# not the last. A fifth of the time tests wait, for other processes or a camera's next picture: hence one process more than
# there are cores. Processes that tests start find modules compiled. WORKERS=0: all in this process.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(8, (os.cpu_count() or 1) + 1))')

pytest: $(VENV)/.dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# Runs the notebooks; needs no network, and what is built asks no other host for anything.
site: $(VENV)/.dev
	$(BIN)/mkdocs build --strict
	@echo 'Now open build/site/index.html; with search: $(BIN)/python -m http.server --directory build/site'

# Every command of every page that can run on one machine, in full: twenty minutes or so. PAGES: only these.
PAGES ?=

docs-commands: $(VENV)/.dev
	$(BIN)/python -m tests.docs $(PAGES)

# What the studio's doubts, clicks, carried masks and trainings are worth (docs/studio_masks.md); hours on two cores.
studio-report: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python apps/reports/studio/report.py $(DATA) --output docs/studio_report.json

# The pictures of docs/gallery; renders scenes.
gallery: $(VENV)/.dev
	$(BIN)/python apps/reports/gallery.py

# Damaged and hostile inputs by the thousand (docs/reliability.md); the same command goes on where it was.
N ?= 20000
SEED ?= 1

# Ray has a wheel of 70 MB and starts its own servers: not a part of make test.
test-ray: $(VENV)/.dev
	$(INSTALL) --editable ".[ray]"
	$(BIN)/python -m pytest tests/jobs/test_ray.py tests/jobs/test_node.py

# What will be released: built, installed into empty environments, run outside of the checkout (docs/releasing.md).
PYTHONS ?= 3.10,3.11,3.12,3.13,3.14
EXTRAS ?= headless

release-check: $(VENV)/.dev
	$(BIN)/python -m tests.release.check --pythons $(PYTHONS) --extras $(EXTRAS)

# The steps of the Containerfile, in an environment of its own. IMAGE=cuda: the other variant, a download of gigabytes.
IMAGE ?= cpu

container-check: $(VENV)/.dev
	$(BIN)/python -m tests.release.container $(IMAGE)

fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --inputs $(N) --seed $(SEED) --folder runs/fuzz-$(SEED)

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# DATA: a folder with coco/, davis/ and clips/, see apps/reports/models.py.
model-report: $(VENV)/.dev
	$(BIN)/python apps/reports/models.py $(DATA) --model nano --output docs/model_report.json
	$(BIN)/python apps/reports/models.py $(DATA) --model small --output docs/model_report.json

# Renders films (panda3d, and Debian's package sweethome3d-furniture); goes on where it was stopped.
identity-report: $(VENV)/.dev
	$(BIN)/python apps/reports/identities/report.py --output docs/identities.md

# Needs no installation, as machines with a GPU often have PyTorch and no network: links show Python the same tree.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(CURDIR)/$(BIN)/python,$(PYTHON))

gpu-report:
	@rm -rf build/tree && mkdir -p build/tree/sipvideo
	@cd build/tree/sipvideo && ln -s ../../../sipvideo/* ../../../apps ../../../configs .
	PYTHONPATH="$(CURDIR)/build/tree:$(CURDIR):$$PYTHONPATH" $(GPU_PYTHON) -m sipvideo.apps.reports.gpu.report

bench: $(VENV)/.runtime
	$(BIN)/sipvideo bench

# MINUTES of live use with all that can go wrong; SOAK: a new folder for what is measured.
MINUTES ?= 120
SOAK ?= build/soak

soak: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python apps/reports/soak/run.py --minutes $(MINUTES) --output $(SOAK)

clean:
	rm -rf $(VENV) build dist *.egg-info demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else \
	  "sipvideo needs Python 3.10 or newer, $(PYTHON) is %d.%d: try make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

# opencv-python can show windows, but its import fails where libGL, libxcb or GLib are missing: then the
# headless build takes its place. Both fill the same folder, so the one goes before the other comes.
$(VENV)/.runtime: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable .
	@if ! $(BIN)/python -c 'import cv2' 2>/dev/null; then \
	  $(INSTALL) $(OPENCV); \
	  $(BIN)/python -c 'import cv2' 2>/dev/null || { \
	    echo '$(OPENCV) cannot be loaded here (no libGL, libxcb or GLib): opencv-python-headless takes its place'; \
	    $(PIP) uninstall --quiet --yes opencv-python && \
	    $(INSTALL) --force-reinstall --no-deps opencv-python-headless && \
	    $(BIN)/python -c 'import cv2'; }; \
	fi
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(INSTALL) --editable '.[dev]'
	@touch $@
