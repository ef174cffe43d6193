#!/usr/bin/env bash
# Starts a server of its own on a free port, puts a short mixed load on it, judges the numbers, and stops it.
#   scripts/loadtest.sh [PROFILE]        USERS=8 SECONDS_LONG=30 by default
set -euo pipefail
cd "$(dirname "$0")/.."
port=$(.venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
work=$(mktemp -d)
VERNIER_GALLERIES_DIR="$work/galleries" .venv/bin/vernier serve --port "$port" >"$work/server.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$work"' EXIT
echo "starting a server on port $port"
for _ in $(seq 120); do
  curl -fsS "http://127.0.0.1:$port/health/ready" >/dev/null 2>&1 && break
  kill -0 $server 2>/dev/null || { cat "$work/server.log"; exit 1; }
  sleep 0.5
done
.venv/bin/locust -f loadtests/locustfile.py --headless --only-summary --users "${USERS:-8}" --spawn-rate 8 \
  --run-time "${SECONDS_LONG:-30}s" --host "http://127.0.0.1:$port" "$@"
