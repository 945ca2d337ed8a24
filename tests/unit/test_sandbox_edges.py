"""The sandbox at its edges: seats, retired tokens, and rates that add up."""

from __future__ import annotations

from random import Random

import pytest

from feedzone.sandbox.faults import Faults
from feedzone.sandbox.grants import Grants, InvalidGrantError, SeatsFullError
from feedzone.sandbox.limits import Limits, Meter

SCOPES = frozenset({"read", "activity:read"})


def test_a_connected_athlete_keeps_the_seat_and_others_need_a_free_one():
    grants = Grants(1, "always", 1)
    grants.exchange(grants.authorize(7, SCOPES, 0), 0, check_seats=True)
    grants.exchange(grants.authorize(7, SCOPES, 0), 0, check_seats=True)
    with pytest.raises(SeatsFullError):
        grants.exchange(grants.authorize(8, SCOPES, 0), 0, check_seats=True)


def test_the_tokens_of_a_dropped_connection_are_dead_and_their_use_is_noted():
    grants = Grants(1, "never", None)
    granted = grants.exchange(grants.authorize(7, SCOPES, 0), 0, check_seats=True)
    assert grants.drop(7)
    assert grants.bearer(granted.access_token, 1) is None
    with pytest.raises(InvalidGrantError):
        grants.refresh(granted.refresh_token, 1)
    assert grants.stale_token_uses == {granted.refresh_token: 1}


def test_each_fault_has_its_own_share_of_requests():
    faults, rng = Faults(error_500=0.3, html_502=0.3, status_597=0.3), Random(7)
    met = [faults.request_fault(rng) for _ in range(3000)]
    shares = {kind: met.count(kind) / len(met) for kind in ("error_500", "html_502", "status_597", None)}
    assert shares == {
        "error_500": pytest.approx(0.3, abs=0.05),
        "html_502": pytest.approx(0.3, abs=0.05),
        "status_597": pytest.approx(0.3, abs=0.05),
        None: pytest.approx(0.1, abs=0.05),
    }


@pytest.mark.parametrize("value", [True, -0.1, "0.5"])
def test_a_rate_is_a_number_that_is_not_negative(value):
    with pytest.raises(ValueError, match="takes a number"):
        Faults().change({"error_500": value})


def test_push_subscription_calls_report_no_usage():
    meter = Meter(Limits())
    meter.spend(0.0)
    assert dict(meter.headers(0.0, full=False))["x-ratelimit-usage"] == "0,0"
    assert dict(meter.headers(0.0))["x-ratelimit-usage"] == "1,1"
