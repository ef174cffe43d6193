"""The workloads W1 to W9, each for one server that runs."""

import functools
import http.client
import itertools
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.load import closed_loop, open_loop
from benchmarks.peers.peers import PATIENCE_MS, Request
from benchmarks.peers.running import Running
from benchmarks.server import pictures
from scenes import generate

Report = dict[str, Any]
_HUNG_S = 10.0
_WARM_UP_S = 1.0
_NUM_TEXTS = 256
_NUM_PICTURES = 64


@dataclass(frozen=True, slots=True)
class Material:
    """What is sent: sentences of 8 to 12 words, and JPEGs of two sizes."""

    texts: Sequence[str]
    small: Sequence[bytes]
    large: Sequence[bytes]

    @classmethod
    def drawn(cls) -> "Material":
        """Draw it."""
        captions = (generate(3, at).caption for at in itertools.count())
        texts = list(itertools.islice((text for text in captions if 8 <= len(text.split()) <= 12), _NUM_TEXTS))
        return cls(texts, pictures(_NUM_PICTURES, "640x480"), pictures(_NUM_PICTURES, "1280x960"))


def requests_of(workload: str, server: Running, material: Material) -> list[bytes] | None:
    """The requests of W1 to W5 as bytes; None where the server has no such route."""
    peer = server.peer
    simple: Mapping[str, tuple[Callable[[Any], Request] | None, Sequence[Any]]] = {
        "W1": (peer.embed_text, material.texts),
        "W2": (peer.embed_picture, material.small),
        "W3": (peer.embed_picture, material.large),
        "W4": (peer.search_text, material.texts),
    }
    if workload != "W5":
        ask, inputs = simple[workload]
        return [server.bytes_of(ask(one)) for one in inputs] if ask else None
    if peer.search_text is None or peer.search_picture is None:
        return None
    by_text = [server.bytes_of(peer.search_text(text)) for text in material.texts[:70]]
    by_picture = [server.bytes_of(peer.search_picture(jpeg)) for jpeg in material.small[:20]]
    asked = peer.embed_text or peer.search_text  # clip-retrieval has no route for embeddings: a search takes its place
    embedded = [server.bytes_of(asked(text)) for text in material.texts[70:80]]
    mixed = by_text + by_picture + embedded
    return [mixed[at] for at in np.random.default_rng(0).permutation(len(mixed))]


def throughput(server: Running, requests: Sequence[bytes], *, clients: int, seconds: float) -> Report:
    """A closed loop: good answers within the patience per second, and CPU of the server for each good answer."""
    turn = turns(requests)
    closed_loop(server.address, turn, clients=clients, seconds=_WARM_UP_S)
    before, own = server.cpu_s(), time.process_time()
    load = closed_loop(server.address, turn, clients=clients, seconds=seconds)
    cpu_s = server.cpu_s() - before
    good = [answer for answer in load.answers if answer.status == 200]
    return {
        "clients": clients,
        "answered_per_s": len(good) / seconds,
        "goodput_per_s": sum(1000 * answer.seconds <= PATIENCE_MS for answer in good) / seconds,
        "server_cpu_ms": 1000 * cpu_s / max(1, len(good)),
        "p50_ms": load.quantile_ms(0.5),
        "p95_ms": load.quantile_ms(0.95),
        "p99_ms": load.quantile_ms(0.99),
        "load_cores": (time.process_time() - own) / seconds,
        "statuses": load.statuses(),
    }


def parity(server: Running, material: Material, reference: Callable[[str | bytes], np.ndarray]) -> Report:
    """Smallest cosine of its embeddings to the reference's."""
    peer = server.peer
    assert peer.embed_text is not None
    assert peer.embed_picture is not None
    assert peer.embedding is not None
    found: dict[str, list[float]] = {"text": [], "picture": []}
    for text in material.texts[:8]:
        found["text"].append(_cosine(peer.embedding(server.ask(peer.embed_text(text))), reference(text)))
    for jpeg in (*material.small[:4], *material.large[:4]):
        found["picture"].append(_cosine(peer.embedding(server.ask(peer.embed_picture(jpeg))), reference(jpeg)))
    smallest = {f"{kind}_cosine": min(values) for kind, values in found.items()}
    return {**smallest, "passed": min(smallest.values()) >= 1 - peer.tolerance}


def search_parity(
    server: Running, material: Material, reference: Callable[[str | bytes], np.ndarray], vectors: np.ndarray
) -> Report:
    """Share of the true ten best that it finds, by text and by picture."""
    peer = server.peer
    assert peer.search_text is not None
    assert peer.search_picture is not None
    assert peer.hits is not None
    asked = [(text, peer.search_text(text)) for text in material.texts[:8]]
    asked += [(jpeg, peer.search_picture(jpeg)) for jpeg in material.small[:4]]  # type: ignore[misc]
    shares = []
    for query, request in asked:
        true = set(np.argsort(-(vectors @ reference(query)))[:10].tolist())
        shares.append(len(true & {at for at, _ in peer.hits(server.ask(request))}) / 10)
    return {"recall_at_10": float(np.mean(shares)), "passed": float(np.mean(shares)) >= 1 - 10 * peer.tolerance}


def broken(server: Running, material: Material, *, seconds: float) -> Report:
    """W6: one picture in a hundred is cut short. What becomes of the good ones, and whether it answers afterwards."""
    ask = server.peer.embed_picture or server.peer.search_picture
    assert ask is not None
    good = [server.bytes_of(ask(jpeg)) for jpeg in material.small]
    cut = server.bytes_of(ask(material.small[0][: len(material.small[0]) // 2]))
    numbers = itertools.count()
    outcomes: dict[str, list[int]] = {"good": [], "cut": []}
    until = time.monotonic() + seconds

    def client() -> None:
        while time.monotonic() < until:
            number = next(numbers)
            is_cut = number % 100 == 10
            outcomes["cut" if is_cut else "good"].append(_status(server, cut if is_cut else good[number % len(good)]))

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = [_status(server, one) for one in good[:3]]
    health = _health(server)
    return {
        "good_sent": len(outcomes["good"]),
        "good_lost": sum(status != 200 for status in outcomes["good"]),
        "cut_statuses": sorted(set(outcomes["cut"])),
        "answers_afterwards": after == [200, 200, 200],
        "health_afterwards": health,
        "survived": all(status == 200 for status in outcomes["good"]) and after == [200, 200, 200],
    }


def overload(server: Running, requests: Sequence[bytes], *, capacity_per_s: float, seconds: float) -> Report:
    """W7: an open loop at three times what it can do, and how long it takes to come back."""
    load = open_loop(server.address, turns(requests), per_s=3 * capacity_per_s, seconds=seconds, patience_s=4 * seconds)
    timely = sum(answer.status == 200 and 1000 * answer.seconds <= PATIENCE_MS for answer in load.answers)
    since = time.monotonic()
    answered = functools.partial(_status, server, requests[0], timeout_s=_HUNG_S)
    while (status := answered()) != 200 and time.monotonic() - since < 30:
        time.sleep(0.1)
    return {
        "offered_per_s": 3 * capacity_per_s,
        "goodput_per_s": timely / seconds,
        "goodput_of_capacity": timely / seconds / capacity_per_s,
        "p99_ms_of_answered": load.quantile_ms(0.99),
        "statuses": load.statuses(),
        "recovered_after_s": time.monotonic() - since if status == 200 else None,
        "survived": timely / seconds >= 0.5 * capacity_per_s and status == 200,
    }


def terminated(server: Running, requests: Sequence[bytes]) -> Report:
    """W9: SIGTERM while eight clients wait for answers."""
    sent_before: list[bool] = []
    stopped = threading.Event()

    def client(number: int) -> None:
        for at in itertools.count(number):
            since = time.monotonic()
            status = _status(server, requests[at % len(requests)], timeout_s=40)
            if told["at"] is None or since < told["at"]:
                sent_before.append(status == 200)
            if stopped.is_set() or status != 200:
                return

    told: dict[str, float | None] = {"at": None}
    threads = [threading.Thread(target=client, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    tree = server.tree()
    told["at"] = since = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    stopped.set()
    _, left = psutil.wait_procs(tree, timeout=20)
    took_s = time.monotonic() - since
    still_answers = bool(left) and _status(server, requests[0], timeout_s=5) == 200
    for one in left:
        one.kill()
    for thread in threads:
        thread.join()
    return {
        "requests_before": len(sent_before),
        "lost": sent_before.count(False),
        "exit_code": server.process.poll(),
        "seconds": took_s if not left else None,
        "processes_left": len(left),
        "still_answers_after_20_s": still_answers,
        "survived": not left and sent_before.count(False) == 0,
    }


def turns(requests: Sequence[bytes]) -> Callable[[], bytes]:
    """Give one request after another, for ever."""
    turn = itertools.cycle(requests)
    return lambda: next(turn)


def _status(server: Running, request: bytes, *, timeout_s: float = _HUNG_S) -> int:
    """The status of an answer; 0 without one in time."""
    head, _, body = request.partition(b"\r\n\r\n")
    path = head.split(b" ", 2)[1].decode()
    connection = http.client.HTTPConnection(*server.address, timeout=timeout_s)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _health(server: Running) -> int:
    """The status of whichever route for its health it has; 0 without an answer."""
    for path in ("/health/ready", "/health"):
        try:
            status = httpx.get(f"http://127.0.0.1:{server.port}{path}", timeout=5).status_code
        except httpx.HTTPError:
            return 0
        if status != 404:
            return status
    return 404


def _cosine(found: Sequence[float], true: np.ndarray) -> float:
    vector = np.asarray(found, np.float64)
    return float(vector @ true / np.linalg.norm(vector) / np.linalg.norm(true))
