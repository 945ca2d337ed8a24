"""No message decides anything: with every error reworded, the queue behaves as before.

The cases of other files run again here, while all errors carry the same text.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from test_breaker import (  # noqa: F401  (fixtures and cases that run again)
    breaker,
    budget,
    test_a_job_that_was_refused_just_before_it_closed_does_not_wait_for_the_next_probe,
    test_six_hours_cost_no_attempt_and_seven_probes_at_most,
    test_what_waited_for_the_application_goes_on_at_once_and_nothing_else_does,
    test_what_waited_while_strava_failed_goes_on_at_once_when_it_answers,
)
from test_dead_letters import (  # noqa: F401
    died,
    test_what_fails_again_is_tried_ever_later,
    test_what_was_given_up_while_strava_failed_is_tried_again_by_itself,
    test_who_connects_again_gets_what_was_given_up_for_want_of_access,
)
from test_deferral import (  # noqa: F401
    test_a_raised_limit_calls_back_what_waited_for_the_old_one,
    test_thousands_of_jobs_are_put_off,
)

from feedzone.errors import FeedzoneError


def _every_error(base: type[FeedzoneError] = FeedzoneError) -> Iterator[type[FeedzoneError]]:
    yield base
    for error in base.__subclasses__():
        yield from _every_error(error)


@pytest.fixture(autouse=True)
def _reworded(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in _every_error():
        monkeypatch.setattr(error, "__str__", lambda self: "reworded")
