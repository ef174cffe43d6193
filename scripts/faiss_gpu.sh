#!/usr/bin/env bash
# Prints a folder with a GPU build of FAISS, to be put first in PYTHONPATH, for the tests of what needs no card:
#   scripts/faiss_gpu.sh [faiss-gpu|faiss-gpu-cuvs]
# The first time it installs the wheel and the CUDA libraries that it links to (1.5 GB and 2.3 GB on the disk) into
# VERNIER_FAISS_GPU_HOME, or the user's cache.
set -euo pipefail
build="${1:-faiss-gpu}"
home="${VERNIER_FAISS_GPU_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/vernier-tests}/$build-1.15.1"
if [ ! -f "$home/.ready" ]; then
    echo "installing $build into $home" >&2
    "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --upgrade --target "$home" "$build==1.15.1" >&2
    rm -rf "$home"/numpy "$home"/numpy-* "$home"/numpy.libs  # those of the tests' own environment are used
    touch "$home/.ready"
fi
echo "$home"
