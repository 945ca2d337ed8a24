"""The session: a signed cookie with the operator and athlete who signed in.

The database knows the sessions that ended before their cookies expire (services/sessions.py). Only sign-in
and sign-out write the cookie, so that no late response of another request can restore an ended session. Its
key derives from ADMIN_PASSWORD and the client secret: a change of either signs everybody out.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from litestar.datastructures import Cookie

from ...services.sessions import LIFETIME
from ..context import WebOptions

COOKIE = "feedzone_session"


@dataclass(frozen=True)
class Session:
    """`athlete_id`: the athlete who signed in with Strava. `departures`: how often they had left before."""

    is_operator: bool = False
    athlete_id: int | None = None
    departures: int = 0
    id: str = ""


NOBODY = Session()


def sign(options: WebOptions, purpose: str, text: str) -> str:
    return hmac.new(options.session_key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def is_signed(options: WebOptions, purpose: str, text: str, signature: str) -> bool:
    return hmac.compare_digest(signature.encode(), sign(options, purpose, text).encode())


def session_cookie(options: WebOptions, session: Session, now: datetime) -> Cookie:
    """Return the cookie that starts a session, or ends it (`NOBODY`)."""
    if not session.is_operator and session.athlete_id is None:
        return own_cookie(options, COOKIE, "", timedelta())
    until = int((now + LIFETIME).timestamp())
    number = session.id or secrets.token_hex(16)
    claim = f"{int(session.is_operator)}.{session.athlete_id or ''}.{session.departures}.{number}.{until}"
    return own_cookie(options, COOKIE, f"{claim}.{sign(options, 'session', claim)}", LIFETIME)


def read_session(options: WebOptions, cookies: Mapping[str, str], now: datetime) -> Session:
    """Return the session of a browser; NOBODY if its cookie is forged or expired."""
    value = cookies.get(cookie_name(options, COOKIE), "")
    claim, _, signature = value.rpartition(".")
    if not claim or not is_signed(options, "session", claim, signature):
        return NOBODY
    operator, athlete, departures, number, until = claim.split(".")
    if int(until) <= now.timestamp():
        return NOBODY
    return Session(operator == "1", int(athlete) if athlete else None, int(departures), number)


def cookie_name(options: WebOptions, name: str) -> str:
    """Return the name in browsers. Only this host can set a cookie with `__Host-`, and only over https.

    Such a cookie belongs to all paths of the host. Under a path of its own, feedzone uses `__Secure-`
    instead, so that browsers do not send its cookies to the host's other programs.
    """
    if not options.is_https:
        return name
    return f"__Secure-{name}" if options.base_path else f"__Host-{name}"


def own_cookie(options: WebOptions, name: str, value: str, lifetime: timedelta) -> Cookie:
    """Return a cookie that no script can read and that other sites' forms do not send."""
    return Cookie(
        cookie_name(options, name),
        value=value,
        path="/",
        max_age=int(lifetime.total_seconds()),
        httponly=True,
        secure=options.is_https,
        samesite="lax",
    )
