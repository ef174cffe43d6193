import pytest

from server.admission import Admission, Place
from server.errors import RequestError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def enter(admission: Admission, kind: str = "/search", **options: object) -> Place:
    place = admission.enter(kind, **options)
    admission.begin(place)
    return place


def serve_steadily(admission: Admission, clock: Clock, *, seconds_each: float, count: int = 200) -> None:
    """Let requests leave one after another, two inside at any time."""
    inside = [enter(admission), enter(admission)]
    for _ in range(count):
        clock.now += seconds_each
        admission.leave(inside.pop(0), own_s=seconds_each * 2)
        inside.append(enter(admission))
    for place in inside:
        clock.now += seconds_each
        admission.leave(place, own_s=seconds_each * 2)


def refused(admission: Admission, **options: object) -> RequestError:
    with pytest.raises(RequestError) as error:
        admission.enter("/search", **options)
    assert error.value.code == "overloaded"
    return error.value


def test_the_predicted_wait_is_what_those_inside_cost(clock: Clock) -> None:
    admission = Admission(max_waiting=1000, max_wait_s=10, clock=clock)
    assert admission.predicted_wait_s == 0
    serve_steadily(admission, clock, seconds_each=0.05)
    for _ in range(20):
        enter(admission)
    assert admission.predicted_wait_s == pytest.approx(20 * 0.05, rel=0.1)


def test_a_wait_that_is_too_long_is_refused_with_the_time_it_will_take(clock: Clock) -> None:
    admission = Admission(max_waiting=1000, max_wait_s=3, clock=clock)
    serve_steadily(admission, clock, seconds_each=0.5)
    places = [enter(admission) for _ in range(7)]
    assert refused(admission).headers["Retry-After"] in ("3", "4")
    admission.leave(places.pop(), own_s=None)
    enter(admission)


def test_without_a_setting_the_limit_follows_what_is_usual(clock: Clock) -> None:
    fast, slow = Admission(max_waiting=1000, clock=clock), Admission(max_waiting=1000, clock=clock)
    serve_steadily(fast, clock, seconds_each=0.001)
    serve_steadily(slow, clock, seconds_each=0.1)
    assert fast.longest_wait_s == 0.25
    assert slow.longest_wait_s == pytest.approx(0.8, rel=0.1)


def test_a_burst_is_taken_in_and_a_flood_is_not(clock: Clock) -> None:
    admission = Admission(max_waiting=1000, clock=clock)
    serve_steadily(admission, clock, seconds_each=0.001)
    burst = [enter(admission) for _ in range(200)]
    assert admission.predicted_wait_s == pytest.approx(0.2, rel=0.1)
    with pytest.raises(RequestError):
        burst += [enter(admission) for _ in range(100)]
    for place in burst[:150]:
        clock.now += 0.001
        admission.leave(place, own_s=0.002)
    assert admission.predicted_wait_s > 0.05
    refused(admission)
    clock.now += 2.1  # nobody was refused for a while
    enter(admission)


def test_kinds_have_costs_of_their_own(clock: Clock) -> None:
    admission = Admission(max_waiting=1000, max_wait_s=100, clock=clock)
    for _ in range(200):
        for kind, seconds in (("cheap", 0.01), ("dear", 1.0)):
            place = enter(admission, kind)
            clock.now += seconds
            admission.leave(place, own_s=seconds)
    enter(admission, "cheap")
    assert admission.predicted_wait_s == pytest.approx(0.01, rel=0.1)
    enter(admission, "dear")
    assert admission.predicted_wait_s == pytest.approx(1.01, rel=0.1)


def test_a_caller_who_will_not_wait_so_long_is_told_at_once(clock: Clock) -> None:
    admission = Admission(max_waiting=1000, max_wait_s=10, clock=clock)
    serve_steadily(admission, clock, seconds_each=0.05)
    enter(admission, timeout_s=0.01)  # nobody is ahead: it may try
    for _ in range(9):
        enter(admission)
    enter(admission, timeout_s=2.0)
    assert "timeout_ms" in str(refused(admission, timeout_s=0.3))


def test_nobody_waits_for_ingest_and_the_number_inside_is_bounded(clock: Clock) -> None:
    admission = Admission(max_waiting=3, max_wait_s=0.001, clock=clock)
    places = [enter(admission, "PUT items", is_ingest=True) for _ in range(2)]
    assert admission.predicted_wait_s == 0
    enter(admission)
    assert refused(admission).headers["Retry-After"] == "1"
    assert admission.inside == 3
    clock.now += 60  # a long write says nothing of what searches cost
    admission.leave(places[0], own_s=60)
    assert admission.predicted_wait_s < 1


def test_a_caller_who_sends_slowly_does_not_make_the_server_look_slow(clock: Clock) -> None:
    admission = Admission(max_waiting=1000, max_wait_s=0.1, clock=clock)
    slow = admission.enter("/search")
    for _ in range(100):
        clock.now += 1
        place = enter(admission)
        clock.now += 0.005
        admission.leave(place, own_s=0.005)
    assert admission.predicted_wait_s < 0.01
    admission.leave(slow, own_s=None)
    assert admission.inside == 0


def test_a_hiccup_of_the_machine_turns_nobody_away(clock: Clock) -> None:
    admission = Admission(max_waiting=1000, clock=clock)
    for _ in range(5):
        place = enter(admission)
        clock.now += 2.0  # the machine was busy elsewhere
        admission.leave(place, own_s=0.002)
    places = [enter(admission) for _ in range(8)]
    assert admission.inside == len(places)
    assert admission.predicted_wait_s < 10


def test_what_is_served_in_batches_is_expected_in_batches(clock: Clock) -> None:
    admission = Admission(max_waiting=1000, max_wait_s=10, clock=clock)
    for _ in range(200):
        places = [enter(admission) for _ in range(20)]
        clock.now += 0.1
        for place in places:
            admission.leave(place, own_s=0.004)
    for _ in range(40):
        enter(admission)
    assert admission.predicted_wait_s == pytest.approx(0.2, rel=0.1)
