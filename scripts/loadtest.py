"""Starts a server of its own, finds what it can do, puts stages of load on it, judges the numbers, and stops it.

    make loadtest [ARGS="PROFILE --stretch 0.5 --plan spike --report runs/loadtest"]

First a closed loop of eight users says how many requests a second the server answers here; then the plan (`all`, short,
unless another is named) runs in an open loop whose full load is that rate. The exit status is 1 when a number is not
good enough.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_START_S = 120
_CLOSED_USERS = 8
_SHORT = 0.3


def main() -> int:
    """Run as the module's text says; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("profile", nargs="*", help="kinds of users, as in loadtests/README.md (default: Mixed)")
    parser.add_argument("--plan", default="all", help="stages of the open loop")
    parser.add_argument("--stretch", type=float, default=_SHORT, help="let each stage last so many times as long")
    parser.add_argument("--full", type=float, help="full load in requests a second, in place of measuring it")
    parser.add_argument("--report", type=Path, default=ROOT / "runs" / "loadtest", help="folder for the reports")
    parser.add_argument("--thresholds", type=Path, help="TOML file that both runs are judged by")
    parser.add_argument("--bundle", type=Path, help="the bundle that is served (default: the demo bundle)")
    options = parser.parse_args()
    judged = ["--thresholds", str(options.thresholds)] if options.thresholds else []
    with tempfile.TemporaryDirectory() as work, serving(Path(work), options.bundle) as host:
        full = options.full
        if full is None:
            closed = options.report / "closed"
            common = [*options.profile, "--stretch", str(options.stretch), *judged]
            code = locust(host, "--plan", "capacity", "--full", str(_CLOSED_USERS), "--report", str(closed), *common)
            if code:
                return code
            full = capacity(closed / "report.json")
            print(f"{_CLOSED_USERS} users in a closed loop: {full:.1f} good answers a second, the full load from here")
        return locust(
            host,
            *[*options.profile, "--loop", "open", "--plan", options.plan, "--full", f"{full:.1f}"],
            *["--stretch", str(options.stretch), "--report", str(options.report), *judged],
        )


def capacity(report: Path) -> float:
    """Return the good answers a second that a closed loop got."""
    measured = json.loads(report.read_text())["measured"]
    (entry,) = (one for one in measured if one["stage"] == "capacity" and one["name"] == "all requests")
    good = entry["requests"] - entry["failures"] - entry["refused"]
    return float(max(1.0, good / entry["seconds"]))


def locust(host: str, *arguments: str) -> int:
    """Run locust with the users of loadtests/ and return its exit status."""
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), "--headless"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([*command, "--only-summary", "--host", host, *arguments], env=environment).returncode


@contextmanager
def serving(work: Path, bundle: Path | None) -> Iterator[str]:
    """Start a server on a free port, with galleries of its own, and stop it afterwards; give its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    environment = {**os.environ, "VERNIER_GALLERIES_DIR": str(work / "galleries"), "VERNIER_PORT": str(port)}
    if bundle:
        environment["VERNIER_BUNDLE"] = str(bundle.resolve())
    print(f"starting a server on port {port}", flush=True)
    with (work / "server.log").open("w") as log:
        command = [sys.executable, "-c", "from vernier.cli import main; main()", "serve"]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        try:
            _wait_until_ready(server, f"http://127.0.0.1:{port}", work / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def _wait_until_ready(server: subprocess.Popen[bytes], host: str, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise SystemExit(log.read_text() + "\nthe server did not start")
        try:
            urllib.request.urlopen(f"{host}/health/ready", timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
        else:
            return
    raise SystemExit(f"the server is not ready after {_START_S} seconds")


if __name__ == "__main__":
    sys.exit(main())
