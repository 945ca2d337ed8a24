"""The pages' assets: bundled and compressed when the package is built, cached by browsers forever."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog
from litestar import Request, Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from .auth.access import anyone

log = structlog.get_logger("feedzone.assets")

CACHE_FOREVER = "public, max-age=31536000, immutable"
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
ENCODINGS = (("br", ".br"), ("gzip", ".gz"))


class _Manifest(msgspec.Struct):
    files: dict[str, str]


class _File(NamedTuple):
    kind: str
    plain: bytes
    packed: dict[str, bytes]


class Assets:
    """The bundle, read into memory once. Without one, pages have no style but still work."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, _File] = {}
        try:
            manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=_Manifest)
        except FileNotFoundError:
            log.warning("assets_missing", remedy="pip install -e . builds them")
            manifest = _Manifest({})
        self._names = manifest.files
        for name in self._names.values():
            self._files[name] = _read(folder / name)

    def address(self, name: str) -> str:
        """Return the address of `app.css`; it changes with the content."""
        return f"/static/{self._names.get(name, name)}"

    def answer(self, name: str, accepted: str) -> Response[bytes]:
        """Return a file in an encoding that the client accepts. Raises NotFoundException."""
        if (file := self._files.get(name)) is None:
            raise NotFoundException("there is no such file")
        headers = {"Cache-Control": CACHE_FOREVER, "Vary": "Accept-Encoding"}
        encodings = {part.partition(";")[0].strip() for part in accepted.lower().split(",")}
        for encoding, content in file.packed.items():
            if encoding in encodings:
                headers["Content-Encoding"] = encoding
                return Response(content, media_type=file.kind, headers=headers)
        return Response(file.plain, media_type=file.kind, headers=headers)


def _read(path: Path) -> _File:
    packed = {
        encoding: path.with_name(path.name + ending).read_bytes()
        for encoding, ending in ENCODINGS
        if path.with_name(path.name + ending).exists()
    }
    return _File(TYPES.get(path.suffix, "application/octet-stream"), path.read_bytes(), packed)


def assets_router(assets: Assets) -> Router:
    return Router("/static", route_handlers=[_handler(assets)], opt=anyone(), include_in_schema=False)


def _handler(assets: Assets) -> HTTPRouteHandler:
    @get("/{name:str}", name="static")
    async def static(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        return assets.answer(name, request.headers.get("accept-encoding", ""))

    return static
