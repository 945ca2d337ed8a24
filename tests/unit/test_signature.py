"""The verdict on X-Strava-Signature: a forged, stale or garbled header never verifies."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedzone.domain.signature import Verdict, sign, verify

BODY = b'{"object_type":"activity","object_id":1360128428}'
KEY = "s3cr3t"
NOW = 1_516_126_040
VECTOR = "dbf80f7401cd5c375111989b0aca283088c0ea144a9385cad9e2e4c8c72efd29"
KEYS = (("WEBHOOK_SECRET", KEY), ("STRAVA_CLIENT_SECRET", "other"))
WRONG = "0" * 64


def digest(body: bytes = BODY, key: str = KEY, t: str = str(NOW)) -> str:
    return hmac.new(key.encode(), t.encode() + b"." + body, hashlib.sha256).hexdigest()


def judge(header: str | None, body: bytes = BODY, now: float = NOW, keys=KEYS) -> Verdict:
    return verify(header, body, now=now, candidates=keys)


def test_a_known_signature_verifies():
    assert sign(BODY, KEY, NOW) == f"t={NOW},v1={VECTOR}"
    assert judge(f"t={NOW},v1={VECTOR}") == Verdict("verified", "WEBHOOK_SECRET", None)


def test_the_known_signature_matches_an_independent_computation():
    assert digest() == VECTOR


def test_the_verdict_names_the_key_that_fits():
    assert judge(sign(BODY, "other", NOW)).key_name == "STRAVA_CLIENT_SECRET"


@pytest.mark.parametrize(
    "header",
    [
        f" t = {NOW} , v1 = {VECTOR} ",
        f"v1={VECTOR},t={NOW}",
        f"t={NOW},v1={WRONG},v1={VECTOR}",
        f"t={NOW},v1=short,v1={VECTOR}",
        f"t={NOW},v0=abc,nonsense,,v1={VECTOR},v2=",
        f"t={NOW},t={NOW},v1={VECTOR}",
        f"t={NOW},v1={VECTOR.upper()}",
    ],
)
def test_any_order_and_spacing_of_the_header_verifies(header):
    assert judge(header).status == "verified"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "no t"),
        ("garbage", "no t"),
        (f"v1={VECTOR}", "no t"),
        (f"T={NOW},v1={VECTOR}", "no t"),
        (f"t={NOW},t=1,v1={VECTOR}", "more than one t"),
        (f"t=,v1={VECTOR}", "not unix seconds"),
        (f"t=-5,v1={VECTOR}", "not unix seconds"),
        (f"t=1e9,v1={VECTOR}", "not unix seconds"),
        (f"t={'9' * 400},v1={VECTOR}", "not unix seconds"),
        (f"t=١٢٣,v1={VECTOR}", "not unix seconds"),
        (f"t={NOW}", "no v1"),
        (f"t={NOW},v1=", "no v1"),
        (f"t={NOW},v1={VECTOR[:-1]}é", "no v1"),
        (f"t={NOW},v1={VECTOR[:-2]}", "no v1"),
        (f"t={NOW},v0={VECTOR}", "no v1"),
        (f"t={NOW},v1={WRONG}", "no configured key"),
    ],
)
def test_a_malformed_or_wrong_header_is_a_mismatch_with_a_reason(header, reason):
    verdict = judge(header)
    assert (verdict.status, verdict.key_name) == ("mismatch", None)
    assert reason in verdict.reason


def test_a_body_changed_by_one_byte_is_a_mismatch():
    assert judge(sign(BODY, KEY, NOW), BODY + b" ").status == "mismatch"


def test_the_signature_covers_the_time():
    assert judge(f"t={NOW + 1},v1={VECTOR}").status == "mismatch"


def test_the_time_is_signed_as_written():
    assert judge(f"t=0{NOW},v1={VECTOR}").status == "mismatch"
    assert judge(f"t=0{NOW},v1={digest(t=f'0{NOW}')}").status == "verified"


@pytest.mark.parametrize("drift", [-300, -1.5, 0, 299.9, 300])
def test_a_time_within_the_tolerance_verifies(drift):
    assert judge(sign(BODY, KEY, NOW), now=NOW + drift).status == "verified"


@pytest.mark.parametrize(("drift", "side"), [(-300.5, "ahead of"), (300.5, "behind"), (86_400, "behind")])
def test_a_time_beyond_the_tolerance_is_a_mismatch(drift, side):
    verdict = judge(sign(BODY, KEY, NOW), now=NOW + drift)
    assert (verdict.status, verdict.key_name) == ("mismatch", None)
    assert side in verdict.reason


def test_the_caller_chooses_the_tolerance():
    late = {"now": NOW + 400.0, "candidates": KEYS}
    assert verify(sign(BODY, KEY, NOW), BODY, **late, tolerance_s=400).status == "verified"


def test_a_delivery_without_the_header_is_absent():
    assert judge(None) == Verdict("absent", None, None)
    assert judge(None, keys=()) == Verdict("absent", None, None)


@pytest.mark.parametrize("keys", [(), (("WEBHOOK_SECRET", ""),)])
def test_without_a_configured_key_every_header_is_a_mismatch(keys):
    assert judge(sign(BODY, "", NOW), keys=keys) == Verdict("mismatch", None, "no key configured")


def test_an_empty_key_beside_a_real_one_never_fits():
    assert judge(sign(BODY, "", NOW), keys=(("empty", ""), *KEYS)).status == "mismatch"


@given(st.binary(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 10**15 - 1))
def test_every_signed_body_verifies(body, key, t):
    assert verify(sign(body, key, t), body, now=t, candidates=[("k", key)]).key_name == "k"


@given(st.text())
def test_no_header_makes_verify_raise(header):
    assert judge(header).status == "mismatch"
