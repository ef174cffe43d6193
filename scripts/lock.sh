#!/usr/bin/env bash
# Writes one lock file per extra into requirements/, installable with plain pip.
# The serving lock is resolved first and constrains the others, so that every extra runs on the same versions.
# A local build of torch ("+cpu") is pinned by its public version: each machine takes the build that it is offered.
set -euo pipefail
cd "$(dirname "$0")/.."
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
compile() { uv pip compile -q pyproject.toml --python-version 3.11 --no-header --no-annotate "$@"; }

compile -o requirements/serve.txt
for extra in training export milvus parquet video dev; do
  compile --extra "$extra" -c requirements/serve.txt -o "requirements/$extra.txt"
done
compile --extra docs -c requirements/dev.txt -o requirements/docs.txt # installed beside dev
# onnxruntime and onnxruntime-gpu (and faiss-cpu and faiss-gpu) overwrite one another: the GPU lock holds one of each.
compile --extra gpu -c requirements/serve.txt --no-emit-package onnxruntime --no-emit-package faiss-cpu -o requirements/gpu.txt
sed -i 's/+cpu$//' requirements/*.txt
