"""Users of every kind. Name one on the command line to run it alone; without a name the mixed profile runs.

    locust -f loadtests/locustfile.py --headless --users 8 --run-time 1m --host http://127.0.0.1:8000 [PROFILE]
    locust -f loadtests/locustfile.py --headless --plan overload --loop open --full 40 --host … [PROFILE]

At the end the numbers are judged by thresholds.toml; the exit status is 1 when they are not good enough.
"""

import itertools
import json
import logging
import os
import random
import time
import uuid
from base64 import b64encode
from dataclasses import asdict
from pathlib import Path

import gevent
from gevent.pool import Group
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, LoadTestShape, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests import judge, report
from loadtests.material import multipart, samples, sentences
from loadtests.records import GOOD, REFUSED, Measured, Record, Records, server_stages
from loadtests.stages import NO_PLAN, PLANS, Stage, Walk, stretched
from vernier import Client

SAMPLES = samples(48)
gevent.get_hub().loop.update_now()  # drawing took seconds, which would otherwise be taken off --run-time
GALLERY = f"loadtest-{uuid.uuid4().hex[:8]}"
HEADERS = {"Authorization": f"Bearer {key}"} if (key := os.environ.get("VERNIER_API_KEY")) else {}
ITEMS_AT_ONCE = 16

PATIENCE_S = 60

_log = logging.getLogger("loadtests")
_sentences = sentences(SAMPLES)
_numbers = itertools.count()
_records = Records()
_on_their_way = Group()
_workers: set[str] = set()


class Visitor(FastHttpUser):
    """Somebody who sends requests: in a closed loop one after another, with a moment to read in between.

    In an open loop a user is a stream of one request a second on average, at random moments (a Poisson process),
    whether or not earlier ones were answered; so that as many users are as many requests a second.
    """

    abstract = True
    is_open = False
    network_timeout = connection_timeout = PATIENCE_S

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._due_s = time.time()

    def wait_time(self) -> float:
        """Seconds until the next request."""
        if not self.is_open:
            return random.uniform(0.05, 0.3)
        self._due_s += random.expovariate(1)
        return max(0.0, self._due_s - time.time())

    def search_by_text(self) -> None:
        """A sentence, sometimes explained or scored again."""
        request = {"text": next(_sentences), "top_k": random.choice((10, 10, 50))}
        if random.random() < 0.1:
            request |= {"rerank": 10}
        self._post("search by text", "/search", request)

    def search_by_picture(self) -> None:
        """A picture of one's own."""
        self._post_picture("search by picture", "/search", {"top_k": 10}, random.choice(SAMPLES).jpeg)

    def ground(self) -> None:
        """The phrases of a picture."""
        sample = random.choice(SAMPLES)
        self._post_picture("ground", "/ground", {"phrases": list(sample.phrases)}, sample.jpeg)

    def proofread(self) -> None:
        """A sentence that is true of the picture, or of another."""
        sample = random.choice(SAMPLES)
        self._post_picture(
            "proofread", "/proofread", {"text": random.choice((sample.caption, sample.doubtful))}, sample.jpeg
        )

    def add_picture(self) -> None:
        """One picture with its text."""
        sample = random.choice(SAMPLES)
        item = {"image": {"base64": b64encode(sample.jpeg).decode()}, "text": sample.caption}
        path = f"/galleries/{GALLERY}/items/{next(_numbers):08d}"
        self._send("add a picture", path, json.dumps(item).encode(), "application/json", method="PUT")

    def add_pictures(self) -> None:
        """Several pictures in one request."""
        lines = []
        for sample in random.sample(SAMPLES, ITEMS_AT_ONCE):
            image = {"base64": b64encode(sample.jpeg).decode()}
            lines.append(json.dumps({"id": f"{next(_numbers):08d}", "image": image, "metadata": {"kind": "bulk"}}))
        self._send("add pictures", f"/galleries/{GALLERY}/items", "\n".join(lines).encode(), "application/x-ndjson")

    def _post(self, name: str, path: str, request: dict[str, object]) -> None:
        self._send(name, path, json.dumps(request).encode(), "application/json")

    def _post_picture(self, name: str, path: str, request: dict[str, object], jpeg: bytes) -> None:
        body = multipart(json.dumps(request).encode(), jpeg)
        self._send(name, path, body.data, body.content_type)

    def _send(self, name: str, path: str, body: bytes, content_type: str, *, method: str = "POST") -> None:
        """Send a request; in an open loop nobody waits for its answer."""
        call = (name, path, body, {**HEADERS, "Content-Type": content_type}, method, _records.stage)
        if self.is_open:
            _on_their_way.spawn(self._call, *call, self._due_s)
        else:
            self._call(*call, time.time())

    def _call(
        self, name: str, path: str, body: bytes, headers: dict[str, str], method: str, stage: str, due_s: float
    ) -> None:
        """Note what becomes of a request that was due at a moment; its latency counts from then."""
        late_ms = 1000 * max(0.0, time.time() - due_s)
        with self.client.request(method, path, data=body, headers=headers, name=name, catch_response=True) as answer:
            answer.request_meta["response_time"] += late_ms
            outcome = _outcome(answer)
            if outcome == GOOD:
                answer.success()
            else:
                answer.failure(outcome)
            timing = (answer.headers or {}).get("Server-Timing", "") if outcome == GOOD else ""
            ms = answer.request_meta["response_time"]
        _records.add(Record(stage, name, due_s, ms, late_ms, outcome, server_stages(timing)))


class Staged(LoadTestShape):
    """Users by a plan, all of them at once."""

    abstract = True  # locust takes one that is not without being asked

    def __init__(self, walk: Walk) -> None:
        super().__init__()
        self._walk = walk

    def tick(self) -> tuple[int, float] | None:
        """See `LoadTestShape`."""
        users = self._walk.users_at(self.get_run_time())
        return None if users is None else (users, users)


class TextSearch(Visitor):
    """Searches by text alone."""

    search = task(Visitor.search_by_text)


class PictureSearch(Visitor):
    """Searches by picture alone."""

    search = task(Visitor.search_by_picture)


class Ground(Visitor):
    """Grounds alone."""

    look = task(Visitor.ground)


class Proofread(Visitor):
    """Proofreads alone."""

    read = task(Visitor.proofread)


class Ingest(Visitor):
    """Adds pictures alone, one by one and many at once."""

    one = task(4)(Visitor.add_picture)
    many = task(1)(Visitor.add_pictures)


class Mixed(Visitor):
    """Everything, as a busy day has it."""

    by_text = task(60)(Visitor.search_by_text)
    by_picture = task(15)(Visitor.search_by_picture)
    look = task(10)(Visitor.ground)
    read = task(10)(Visitor.proofread)
    one = task(5)(Visitor.add_picture)


def _outcome(answer) -> str:
    """Return whether an answer is the one wanted, or else the server's own name for what went wrong."""
    if 200 <= answer.status_code < 300:  # a broken connection has status 0, which locust finds good enough for `ok`
        refused = answer.json()["failed"] if b'"failed"' in (answer.content or b"") else 0
        return f"{refused} items were refused" if refused else GOOD
    if answer.status_code == 429:
        return REFUSED
    try:
        return str(answer.json()["code"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}" if answer.status_code else f"no answer: {type(answer.error).__name__}"


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Let plans, the kind of loop, another file of thresholds and a place for the report be named.

    Paths stay strings: a master sends every option to its workers, and paths cannot be sent.
    """
    parser.add_argument("--plan", choices=PLANS, help="stages to walk through, in place of --users and --run-time")
    parser.add_argument("--loop", choices=("closed", "open"), default="closed", help="open: requests come as they come")
    parser.add_argument("--full", type=float, default=8, help="the full load: users, or requests a second when open")
    parser.add_argument("--stretch", type=float, default=1, help="let each stage last so many times as long")
    parser.add_argument("--thresholds", default=str(judge.FILE), help="TOML file that the run is judged by")
    parser.add_argument("--report", default="", help="folder for report.html, report.csv and report.json")


@events.init.add_listener
def prepare(environment: Environment, **_) -> None:
    """Choose profile, loop and plan."""
    options = environment.parsed_options
    if len(environment.user_classes) > 1 and not options.user_classes:
        environment.user_classes = [Mixed]
    if options.loop == "open":
        Visitor.is_open = True
        Visitor.client_pool = HTTPClientPool(
            concurrency=4096, network_timeout=PATIENCE_S, connection_timeout=PATIENCE_S
        )
    environment.stop_timeout = environment.stop_timeout or PATIENCE_S  # whoever waits for an answer when a stage ends
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        runner.register_message("stage", lambda msg, **_: _records.begin(Stage(**msg.data)))
    elif options.plan:
        plan = stretched(PLANS[options.plan], options.stretch)
        environment.shape_class = Staged(Walk(plan, full=options.full, begin=lambda stage: _begin(environment, stage)))


def _begin(environment: Environment, stage: Stage) -> None:
    """Begin a stage, here and at the workers."""
    _records.begin(stage)
    if isinstance(environment.runner, MasterRunner):
        environment.runner.send_message("stage", asdict(stage))
    _log.info("stage %s: %.2f of the full load for %.0f s", stage.name, stage.level, stage.seconds)


@events.report_to_master.add_listener
def send_records(data: dict[str, object], **_) -> None:
    """Give the master what was noted since the last time."""
    data["records"] = _records.unsent()


@events.worker_report.add_listener
def receive_records(client_id: str, data: dict[str, object], **_) -> None:
    """Take what a worker noted."""
    _workers.add(client_id)
    _records.receive(data.pop("records", []))


@events.test_start.add_listener
def begin_without_plan(environment: Environment, **_) -> None:
    """A run without a plan is one stage."""
    if not environment.parsed_options.plan and not isinstance(environment.runner, WorkerRunner):
        _begin(environment, Stage(name=NO_PLAN, seconds=0, level=1))


@events.test_start.add_listener
def make_gallery(environment: Environment, **_) -> None:
    """Pictures go into a gallery of their own."""
    if _writes(environment):
        with _client(environment) as client:
            client.create_gallery(GALLERY)


@events.test_stopping.add_listener
def end_stages(**_) -> None:
    """From here on no request is due."""
    _records.begin(None)


@events.test_stop.add_listener
def delete_gallery(environment: Environment, **_) -> None:
    """Wait for what is on its way, and leave the server as it was."""
    _on_their_way.join(PATIENCE_S)
    if _writes(environment):
        with _client(environment) as client:
            client.delete_gallery(GALLERY)


@events.quitting.add_listener
def judge_run(environment: Environment, **_) -> None:
    """Say whether the run was good enough; the exit status says it too."""
    options = environment.parsed_options
    if isinstance(environment.runner, WorkerRunner):
        return
    thresholds = judge.load(Path(options.thresholds))
    complaints = judge.judge(
        _records.measured(thresholds.within_ms, judged_only=True),
        thresholds,
        full_per_s=options.full if options.loop == "open" and options.plan else None,
    )
    measured = _records.measured(thresholds.within_ms)
    if options.report:
        report.write(_run(environment, complaints, measured), Path(options.report))
        _log.info("the report is %s", Path(options.report) / "report.html")
    for line in report.lines(measured):
        _log.info(line)
    for complaint in complaints:
        _log.error("not good enough: %s", complaint)
    if not complaints:
        _log.info("good enough: %s requests", len(_records.records))
    environment.process_exit_code = 1 if complaints else 0


def _run(environment: Environment, complaints: list[str], measured: list[Measured]) -> report.Run:
    return report.Run(about=_about(environment), complaints=complaints, measured=measured, records=_records.records)


def _about(environment: Environment) -> dict[str, str | float | int]:
    options = environment.parsed_options
    return {
        "host": str(environment.host),
        "profile": ", ".join(kind.__name__ for kind in environment.user_classes),
        "plan": options.plan or "none",
        "loop": options.loop,
        "full": options.full,
        "workers": len(_workers),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "thresholds": Path(options.thresholds).name,
    }


def _writes(environment: Environment) -> bool:
    """Whether this process has users that add pictures; a master has none of its own."""
    if isinstance(environment.runner, MasterRunner):
        return False
    return any(kind in (Ingest, Mixed) for kind in environment.user_classes)


def _client(environment: Environment) -> Client:
    return Client(environment.host, api_key=os.environ.get("VERNIER_API_KEY"))
