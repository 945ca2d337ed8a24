"""No message decides anything: with every error reworded, the engine behaves as before.

The cases of other files run again here, while all errors carry the same text.
"""

from __future__ import annotations

import pytest
from test_bad_days import (  # noqa: F401  (fixtures and cases that run again)
    engine,
    test_a_missing_scope_marks_the_athlete_keeps_the_token_and_causes_no_more_calls,
    test_an_outage_of_strava_costs_few_calls_and_loses_nothing,
    test_disconnecting_deletes_at_once_and_retries_the_revocation_until_it_works,
)

pytestmark = pytest.mark.usefixtures("reworded_errors")
