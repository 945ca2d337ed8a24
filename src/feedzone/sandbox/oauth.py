"""Consent, token exchange, token refresh and revocation.

See docs/strava-api.md#authorize, #token-exchange, #token-refresh and #revoke.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlencode, urlsplit

from . import pages
from .athletes import summary_json
from .grants import SCOPES, Grant, InvalidGrantError, SeatsFullError
from .http import Request, Response, bad_request, json_response, redirect
from .world import World

_CONSENT_PARAMS = ("client_id", "redirect_uri", "response_type", "approval_prompt", "scope", "state")
FULL_TEXT = "Error 403: Limit of connected athletes exceeded"


class OAuth:
    """Handles /oauth, except the deauthorisation by bearer, which counts against the rate limit."""

    def __init__(self, world: World) -> None:
        self._world = world

    def authorize(self, request: Request) -> Response:
        """Return the consent page, or the redirect after consent.

        Scripts skip the page with the parameter `sandbox_athlete` or `sandbox_deny`.
        """
        params = request.params()
        if refused := self._check_params(params):
            return refused
        if request.method == "POST":
            ticked = [value for name, value in request.form_pairs() if name == "grant"]
            denied = params.get("decision") != "authorize"
            return self._decide(params, params.get("athlete_id", ""), ticked, denied)
        if "sandbox_athlete" in params or "sandbox_deny" in params:
            ticked = _split(params.get("sandbox_scope", params.get("scope", "")))
            return self._decide(params, params.get("sandbox_athlete", ""), ticked, "sandbox_deny" in params)
        consent_params = {name: params[name] for name in _CONSENT_PARAMS if name in params}
        return pages.consent(consent_params, _split(params["scope"]), list(self._world.athletes.values()))

    def token(self, request: Request) -> Response:
        """Exchange a code or refresh a token; the response never has rate limit headers."""
        form = request.params()
        if refused := self._check_client(form.get("client_id"), form.get("client_secret")):
            return refused
        match form.get("grant_type"):
            case "authorization_code":
                return self._exchange(form.get("code", ""))
            case "refresh_token":
                return self._refresh(form.get("refresh_token", ""))
        return bad_request("Application", "grant_type")

    def revoke(self, request: Request) -> Response:
        """Revoke by access or refresh token, with HTTP Basic; 200 even if the token is no longer valid."""
        client_id, _, secret = _basic(request.headers.get("authorization", "")).partition(":")
        if self._check_client(client_id, secret):
            return json_response({"message": "Authorization Error", "errors": []}, 401)
        owner = self._world.grants.owner_of(request.form().get("token", ""))
        if owner is not None:
            self._world.deauthorize(owner, by_application=True)
        return json_response({})

    def _check_params(self, params: dict[str, str]) -> Response | None:
        application = self._world.application
        if params.get("client_id") != application.client_id:
            return bad_request("Application", "client_id")
        host = urlsplit(params.get("redirect_uri", "")).hostname or ""
        domain = application.callback_domain
        if host not in ("localhost", "127.0.0.1", domain) and not host.endswith(f".{domain}"):
            return bad_request("Application", "redirect_uri")
        if params.get("response_type") != "code":
            return bad_request("Application", "response_type")
        scopes = _split(params.get("scope", ""))
        if not scopes or not set(scopes) <= set(SCOPES):
            return bad_request("Application", "scope")
        return None

    def _decide(self, params: dict[str, str], athlete: str, scopes: list[str], denied: bool) -> Response:
        world, state = self._world, params.get("state", "")
        if denied:
            return _redirect_back(params["redirect_uri"], {"state": state, "error": "access_denied"})
        if not athlete.isdecimal() or int(athlete) not in world.athletes:
            return bad_request("Athlete", "id")
        # An athlete can grant fewer scopes than requested, never more.
        granted = [s for s in SCOPES if s in scopes and s in _split(params["scope"])]
        checks_seats = world.behaviour.seats_checked in ("consent", "both")
        if checks_seats and world.grants.has_no_seat_for(int(athlete)):
            return pages.seats_full()
        code = world.grants.authorize(int(athlete), frozenset(granted), world.clock())
        return _redirect_back(
            params["redirect_uri"], {"state": state, "code": code, "scope": ",".join(granted)}
        )

    def _exchange(self, code: str) -> Response:
        world = self._world
        checks_seats = world.behaviour.seats_checked in ("exchange", "both")
        try:
            grant = world.grants.exchange(code, world.clock(), checks_seats)
        except InvalidGrantError:
            return bad_request("AuthorizationCode", "code")
        except SeatsFullError:
            return json_response({"message": FULL_TEXT, "errors": []}, 403)
        pair = self._pair(grant)
        return json_response({**pair, "athlete": summary_json(world.athletes[grant.athlete_id])})

    def _refresh(self, token: str) -> Response:
        try:
            grant = self._world.grants.refresh(token, self._world.clock())
        except InvalidGrantError:
            return bad_request("RefreshToken", "refresh_token")
        return json_response(self._pair(grant))

    def _pair(self, grant: Grant) -> dict[str, str | int]:
        return {
            "token_type": "Bearer",
            "access_token": grant.access_token,
            "expires_at": grant.expires_at,
            "expires_in": grant.expires_at - int(self._world.clock()),
            "refresh_token": grant.refresh_token,
        }

    def _check_client(self, client_id: str | None, secret: str | None) -> Response | None:
        application = self._world.application
        if client_id != application.client_id:
            return bad_request("Application", "client_id")
        return None if secret == application.client_secret else bad_request("Application", "client_secret")


def _split(scopes: str) -> list[str]:
    return [s for s in scopes.replace(" ", ",").split(",") if s]


def _redirect_back(uri: str, query: dict[str, str]) -> Response:
    separator = "&" if urlsplit(uri).query else "?"
    return redirect(f"{uri}{separator}{urlencode(query, safe=',:')}")


def _basic(header: str) -> str:
    kind, _, value = header.partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
