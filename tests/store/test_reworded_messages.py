"""No message decides anything: with every error reworded, the queue behaves as before.

The cases of other files run again here, while all errors carry the same text.
"""

from __future__ import annotations

import pytest
from test_breaker import (  # noqa: F401  (fixtures and cases that run again)
    breaker,
    budget,
    test_a_job_that_was_refused_just_before_the_breaker_closed_is_due_at_once,
    test_jobs_that_waited_while_strava_failed_are_due_when_it_answers,
    test_only_jobs_that_waited_for_the_breaker_are_due_when_it_closes,
    test_six_hours_switched_off_cost_no_attempt_and_at_most_seven_probes,
)
from test_dead_letters import (  # noqa: F401
    dead_letter,
    test_dead_letters_of_an_outage_are_retried_automatically,
    test_dead_letters_without_access_are_retried_when_the_athlete_reconnects,
    test_each_automatic_retry_waits_longer,
)
from test_deferral import (  # noqa: F401
    test_a_raised_limit_makes_the_jobs_due_that_waited_for_the_old_one,
    test_thousands_of_jobs_are_deferred,
)

pytestmark = pytest.mark.usefixtures("reworded_errors")
