#!/usr/bin/env bash
# Prints the folder of a real Milvus server for the tests: bin/milvus-server starts it, run/bin is what it unpacks.
# The first time it makes an environment of its own for it (the wheel milvus 2.3.5, which carries the binary; 350 MB in
# all) in VERNIER_MILVUS_HOME, or in the user's cache.
set -euo pipefail
home="${VERNIER_MILVUS_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/vernier/milvus-2.3.5}"
if [ ! -f "$home/.unpacked" ]; then
    echo "installing a Milvus server into $home" >&2
    mkdir -p "$home"
    "${PYTHON:-python3}" -m venv "$home" >&2
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check milvus==2.3.5 >&2
    "$home/bin/python" -c "import milvus, sys; milvus._initialize_data_files(sys.argv[1])" "$home/run" >&2
    touch "$home/.unpacked"
fi
echo "$home"
