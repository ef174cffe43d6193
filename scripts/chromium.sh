#!/usr/bin/env bash
# Sees to it that the browser tests find a Chromium. Without one they are skipped, and say so.
set -uo pipefail
cd "$(dirname "$0")/.."
find_chromium() {
  command -v chromium || command -v chromium-browser || command -v google-chrome ||
    .venv/bin/python - <<'P'
import pathlib, sys
from playwright.sync_api import sync_playwright
with sync_playwright() as p:
    path = p.chromium.executable_path
print(path)
sys.exit(not pathlib.Path(path).exists())
P
}
find_chromium >/dev/null 2>&1 && exit 0
echo "no Chromium found: installing one for the browser tests"
.venv/bin/python -m playwright install chromium >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null 2>&1
fi
find_chromium >/dev/null 2>&1 || echo "no Chromium could be installed: the browser tests will be skipped"
