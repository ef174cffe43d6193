"""Users of every kind. Name one on the command line to run it alone; without a name the mixed profile runs.

    locust -f loadtests/locustfile.py --headless --users 8 --run-time 1m --host http://127.0.0.1:8000 [PROFILE]

At the end the numbers are judged by thresholds.toml; the exit status is 1 when they are not good enough.
"""

import itertools
import json
import logging
import os
import random
import uuid
from base64 import b64encode
from pathlib import Path

import gevent
from locust import FastHttpUser, between, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner
from locust.stats import StatsEntry

from loadtests import judge
from loadtests.material import multipart, samples, sentences
from vernier import Client

SAMPLES = samples(48)
gevent.get_hub().loop.update_now()  # drawing took seconds, which would otherwise be taken off --run-time
GALLERY = f"loadtest-{uuid.uuid4().hex[:8]}"
HEADERS = {"Authorization": f"Bearer {key}"} if (key := os.environ.get("VERNIER_API_KEY")) else {}
ITEMS_AT_ONCE = 16

_log = logging.getLogger("loadtests")
_sentences = sentences(SAMPLES)
_numbers = itertools.count()


class Visitor(FastHttpUser):
    """Somebody who sends requests and reads for a moment in between."""

    abstract = True
    wait_time = between(0.05, 0.3)

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
        with self.client.put(path, json=item, headers=HEADERS, name="add a picture", catch_response=True) as answer:
            _check(answer)

    def add_pictures(self) -> None:
        """Several pictures in one request."""
        lines = []
        for sample in random.sample(SAMPLES, ITEMS_AT_ONCE):
            image = {"base64": b64encode(sample.jpeg).decode()}
            lines.append(json.dumps({"id": f"{next(_numbers):08d}", "image": image, "metadata": {"kind": "bulk"}}))
        headers = {**HEADERS, "Content-Type": "application/x-ndjson"}
        path = f"/galleries/{GALLERY}/items"
        with self.client.post(
            path, data="\n".join(lines), headers=headers, name="add pictures", catch_response=True
        ) as answer:
            if _check(answer) and answer.json()["failed"]:
                answer.failure(f"{answer.json()['failed']} items were refused")

    def _post(self, name: str, path: str, request: dict[str, object]) -> None:
        with self.client.post(path, json=request, headers=HEADERS, name=name, catch_response=True) as answer:
            _check(answer)

    def _post_picture(self, name: str, path: str, request: dict[str, object], jpeg: bytes) -> None:
        body = multipart(json.dumps(request).encode(), jpeg)
        headers = {**HEADERS, "Content-Type": body.content_type}
        with self.client.post(path, data=body.data, headers=headers, name=name, catch_response=True) as answer:
            _check(answer)


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


def _check(answer) -> bool:
    """Mark what is not the answer wanted as a failure, by the server's own name for it."""
    if 200 <= answer.status_code < 300:  # a broken connection has status 0, which locust finds good enough for `ok`
        answer.success()
        return True
    try:
        said = answer.json()["code"]
    except (ValueError, KeyError, TypeError):
        said = f"status {answer.status_code}" if answer.status_code else f"no answer: {type(answer.error).__name__}"
    answer.failure(said)
    return False


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Let another file of thresholds be named."""
    parser.add_argument("--thresholds", type=Path, default=judge.FILE, help="TOML file that the run is judged by")


@events.init.add_listener
def choose_profile(environment: Environment, **_) -> None:
    """Without a profile named, run the mixed one alone."""
    if len(environment.user_classes) > 1 and not environment.parsed_options.user_classes:
        environment.user_classes = [Mixed]


@events.test_start.add_listener
def make_gallery(environment: Environment, **_) -> None:
    """Pictures go into a gallery of their own."""
    if _writes(environment):
        with _client(environment) as client:
            client.create_gallery(GALLERY)


@events.test_stop.add_listener
def delete_gallery(environment: Environment, **_) -> None:
    """Leave the server as it was."""
    if _writes(environment):
        with _client(environment) as client:
            client.delete_gallery(GALLERY)


@events.quitting.add_listener
def judge_run(environment: Environment, **_) -> None:
    """Say whether the run was good enough; the exit status says it too."""
    if isinstance(environment.runner, WorkerRunner):
        return
    entries = {judge.ALL: environment.stats.total} | {entry.name: entry for entry in environment.stats.entries.values()}
    complaints = judge.judge(
        [_measured(name, entry) for name, entry in entries.items()], judge.load(environment.parsed_options.thresholds)
    )
    for complaint in complaints:
        _log.error("not good enough: %s", complaint)
    if not complaints:
        _log.info("good enough: %s requests", environment.stats.total.num_requests)
    environment.process_exit_code = 1 if complaints else 0


def _measured(name: str, entry: StatsEntry) -> judge.Measured:
    return judge.Measured(
        name=name,
        requests=entry.num_requests,
        failures=entry.num_failures,
        p95_ms=float(entry.get_response_time_percentile(0.95) or 0),
        requests_per_s=entry.total_rps,
    )


def _writes(environment: Environment) -> bool:
    """Whether this process has users that add pictures; a master has none of its own."""
    if isinstance(environment.runner, MasterRunner):
        return False
    return any(kind in (Ingest, Mixed) for kind in environment.user_classes)


def _client(environment: Environment) -> Client:
    return Client(environment.host, api_key=os.environ.get("VERNIER_API_KEY"))
