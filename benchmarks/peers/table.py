"""The tables of docs/peers.md, from the results.

python -m benchmarks.peers.table FILE     (prints them)
"""

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Report = dict[str, Any]
_WORDS = {
    "W1": "W1: embed a text",
    "W2": "W2: embed a picture, 640x480",
    "W3": "W3: embed a picture, 1280x960",
    "W4": "W4: search by text",
    "W5": "W5: mixed searches",
}
_NAMES = ("vernier-int8", "vernier-fp32", "infinity", "litserve", "plain", "clip-retrieval")


def tables(found: Report) -> str:
    """All tables as Markdown."""
    parts = (_steady(found), _broken(found), _overload(found), _start(found), _end(found))
    return "\n\n".join("\n".join(part) for part in parts)


def _steady(found: Report) -> Iterator[str]:
    yield (
        "| workload | server | goodput a second (rounds) | clients | with late answers, at best "
        "| CPU of the server, ms each | p50 ms | p99 ms |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for workload, words in _WORDS.items():
        for name in _NAMES:
            if seen := found.get(workload, {}).get(name):
                span = f"{seen['lowest']:.1f} to {seen['highest']:.1f}"
                yield (
                    f"| {words} | {name} | {seen['goodput_per_s']:.1f} ({span}) | {seen['clients']} "
                    f"| {_most_answered(seen['rounds']):.1f} | {seen['server_cpu_ms']:.1f} "
                    f"| {seen['p50_ms']:.0f} | {seen['p99_ms']:.0f} |"
                )


def _most_answered(rounds: Sequence[Report]) -> float:
    """Answers a second however late, at the width that gives most of them."""
    by_width: dict[int, list[float]] = {}
    for entry in rounds:
        by_width.setdefault(entry["clients"], []).append(entry["answered_per_s"])
    return max(map(statistics.median, by_width.values()))


def _broken(found: Report) -> Iterator[str]:
    yield "| W6: 1 % cut short | good pictures sent | of them lost | status of the broken | answers afterwards |"
    yield "|---|---|---|---|---|"
    for name, seen in _of(found, "W6"):
        statuses = ", ".join(str(status) if status else "none" for status in seen["cut_statuses"])
        afterwards = "yes" if seen["answers_afterwards"] else f"no, and its health says {seen['health_afterwards']}"
        yield f"| {name} | {seen['good_sent']} | {seen['good_lost']} | {statuses} | {afterwards} |"


def _overload(found: Report) -> Iterator[str]:
    yield "| W7: three times its capacity | offered a second | goodput of capacity | p99 of answers | back after |"
    yield "|---|---|---|---|---|"
    for name, seen in _of(found, "W7"):
        back = seen["recovered_after_s"]
        yield (
            f"| {name} ({seen['of']}) | {seen['offered_per_s']:.0f} | {seen['goodput_of_capacity']:.2f} "
            f"| {seen['p99_ms_of_answered']:.0f} ms | {'30 s: not' if back is None else f'{back:.1f} s'} |"
        )


def _start(found: Report) -> Iterator[str]:
    yield "| W8: start | first answer after | CPU until then | memory | after some load |"
    yield "|---|---|---|---|---|"
    for name, seen in _of(found, "W8"):
        yield (
            f"| {name} | {seen['start_s']:.1f} s | {seen['start_cpu_s']:.1f} s | {seen['memory_mb']:.0f} MB "
            f"| {seen['memory_mb_after_load']:.0f} MB |"
        )


def _end(found: Report) -> Iterator[str]:
    yield "| W9: SIGTERM under load | requests in flight lost | exit code | ended after | still answers after 20 s |"
    yield "|---|---|---|---|---|"
    for name, seen in _of(found, "W9"):
        took = "not in 20 s" if seen["seconds"] is None else f"{seen['seconds']:.1f} s"
        yield (
            f"| {name} | {seen['lost']} of {min(8, seen['requests_before'])} | {seen['exit_code']} | {took} "
            f"| {'yes' if seen['still_answers_after_20_s'] else 'no'} |"
        )


def _of(found: Report, workload: str) -> Iterator[tuple[str, Report]]:
    for name in _NAMES:
        if seen := found.get(workload, {}).get(name):
            yield name, seen


if __name__ == "__main__":
    print(tables(json.loads(Path(sys.argv[1]).read_text())))
