"""A deadline that moves often: it passes once, at its last place, with one timer of the loop."""

import asyncio
import contextvars
import gc
import weakref

import pytest

from aioluahttp.timers import MovingDeadline


class Clock:
    """A loop whose time a test sets, and which counts the timers that were started."""

    def __init__(self):
        self.now = 0.0
        self.timers = []
        self.started = 0

    def time(self):
        return self.now

    def call_at(self, at, act, context):
        self.started += 1
        timer = Timer(self, at, act)
        self.timers.append(timer)
        return timer

    def go_on(self, seconds):
        self.now += seconds
        for timer in [timer for timer in self.timers if timer.at <= self.now]:
            self.timers.remove(timer)
            timer.act()


class Timer:
    def __init__(self, clock, at, act):
        self.clock, self.at, self.act = clock, at, act

    def when(self):
        return self.at

    def cancel(self):
        self.clock.timers.remove(self)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def passed():
    return []


@pytest.fixture
def deadline(clock, passed):
    return MovingDeadline(clock, lambda: passed.append(clock.now), contextvars.Context())


def test_it_passes_once(clock, passed, deadline):
    deadline.move(5)
    for _ in range(12):
        clock.go_on(1)
    assert passed == [5]
    assert not clock.timers


def test_moving_it_on_starts_no_timer(clock, passed, deadline):
    for _ in range(4):
        deadline.move(5)
        clock.go_on(1)
    assert clock.started == 1
    for _ in range(6):
        clock.go_on(1)
    assert passed == [8]
    assert clock.started == 2


def test_it_can_be_moved_to_an_earlier_time(clock, passed, deadline):
    deadline.move(60)
    deadline.move(2)
    assert len(clock.timers) == 1
    clock.go_on(2)
    assert passed == [2]


def test_it_may_be_taken_back(clock, passed, deadline):
    deadline.clear()  # before it was set
    deadline.move(5)
    deadline.clear()
    clock.go_on(10)
    assert not clock.timers
    deadline.move(3)
    clock.go_on(3)
    assert passed == [13]


def test_it_may_be_cancelled_for_good(clock, passed, deadline):
    deadline.cancel()  # before it was set
    deadline.move(5)
    deadline.cancel()
    assert not clock.timers
    deadline.move(5)
    clock.go_on(5)
    assert not passed


def test_a_busy_loop_gets_a_turn_before_it_passes(clock, passed, deadline):
    """What has arrived in time may move it."""
    deadline.move(5)
    clock.go_on(7)
    assert not passed
    deadline.move(5)
    clock.go_on(0.001)
    clock.go_on(4.999)
    assert passed == [12]
    deadline.move(5)
    clock.go_on(7)
    assert passed == [12]
    clock.go_on(0.001)
    assert len(passed) == 2


def test_it_may_be_set_again_when_it_passes(clock, passed):
    def again():
        passed.append(clock.now)
        deadline.move(2)

    deadline = MovingDeadline(clock, again, contextvars.Context())
    deadline.move(2)
    for _ in range(6):
        clock.go_on(1)
    assert passed == [2, 4, 6]


async def test_a_cancelled_one_keeps_nothing_alive():
    class Owner:
        def __init__(self):
            loop, context = asyncio.get_running_loop(), contextvars.Context()
            self.deadline = MovingDeadline(loop, self.late, context)

        def late(self):
            raise AssertionError

    owner = Owner()
    owner.deadline.move(60)
    owner.deadline.cancel()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


async def test_it_runs_in_the_given_context():
    variable = contextvars.ContextVar('variable', default='the default')
    seen = asyncio.get_running_loop().create_future()
    variable.set('of the caller')
    deadline = MovingDeadline(
        asyncio.get_running_loop(),
        lambda: seen.set_result(variable.get()),
        contextvars.Context(),
    )
    deadline.move(0)
    assert await seen == 'the default'
