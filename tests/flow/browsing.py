"""The actions of a person in a browser without scripts."""

from __future__ import annotations

import re

import httpx
from web_world import PASSWORD, World


def words(html: str) -> str:
    """Return the visible text of a page."""
    html = re.sub(r"<head>.*?</head>", "", html, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", html).split()).replace(" .", ".").replace(" ,", ",")


async def act(browser: httpx.AsyncClient, path: str, **form: str) -> str:
    """Send a form like a browser without scripts and return the text of the next page."""
    await browser.get("/health")
    answer = await browser.post(path, data=form | {"_csrf_token": csrf_token(browser)})
    assert answer.status_code == 303, answer.text
    return words((await browser.get(answer.headers["location"])).text)


async def sign_in(browser: httpx.AsyncClient, password: str = PASSWORD, to: str = "/") -> httpx.Response:
    page = await browser.get("/login", params={"next": to})
    token = re.search(r'name="_csrf_token" value="([^"]+)"', page.text)
    form = {"_csrf_token": token.group(1) if token else "", "password": password, "next": to}
    answer = await browser.post("/login", data=form)
    if answer.status_code == 303:
        await browser.get("/login")  # as a browser follows the redirect; its session has another token
    return answer


def csrf_token(browser: httpx.AsyncClient) -> str:
    return browser.cookies.get("__Host-feedzone_csrf") or browser.cookies["feedzone_csrf"]


def csrf(browser: httpx.AsyncClient) -> dict[str, str]:
    return {"x-csrftoken": csrf_token(browser)}


async def connect(world: World, browser: httpx.AsyncClient) -> None:
    leaving = await browser.get("/connect")
    state = re.search(r"state=([^&]+)", leaving.headers["location"]).group(1)
    answer = await browser.get(
        "/connect/callback", params={"state": state, "code": "c", "scope": "read,activity:read_all"}
    )
    assert answer.status_code == 303
    await browser.get("/join")  # a new session has another token
