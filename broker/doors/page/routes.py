"""The page: `/` and its files, which anybody may read. They hold no data: the page asks for a key."""

import asyncio

from fastapi import APIRouter, Request, Response

from golem_chain.broker.doors.errors import HttpError
from golem_chain.broker.doors.page.assets import Asset, assets

router = APIRouter(include_in_schema=False)

#: No source but this server, nothing inline, no markup from strings (Trusted Types). `blob:` is audio that the user
#: chose or recorded; the one policy, `default`, is that of static/js/out/player.js, for wavesurfer's own template.
CONTENT_SECURITY_POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:", "media-src blob:",
    "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
    "require-trusted-types-for 'script'", "trusted-types default",
))  # fmt: skip


@router.get("/")
@router.head("/")
async def page(request: Request) -> Response:
    """Return the page."""
    return await _answer(request, "index.html")


@router.get("/static/{path:path}")
@router.head("/static/{path:path}")
async def static(request: Request, path: str) -> Response:
    """Return a file of the page."""
    return await _answer(request, path)


async def _answer(request: Request, path: str) -> Response:
    """Answer with a file, or with 304 if the browser has it. Raises HttpError if there is none of this name."""
    asset = (await asyncio.to_thread(assets)).get(path)
    if asset is None:
        raise HttpError(404, "The page has no such file.", "not_found")
    headers = {
        "etag": asset.etag,
        "cache-control": "no-cache",  # kept, but asked about each time, so that an upgrade shows at once
        "vary": "accept-encoding",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    if path == "index.html":
        headers["content-security-policy"] = CONTENT_SECURITY_POLICY
    if knows(asset, request.headers.get("if-none-match", "")):
        return Response(None, 304, headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(asset.gzipped, 200, headers, asset.type)
    return Response(asset.data, 200, headers, asset.type)


def knows(asset: Asset, if_none_match: str) -> bool:
    """Whether a browser that sends this If-None-Match has the file."""
    tags = (tag.strip().removeprefix("W/") for tag in if_none_match.split(","))
    return any(tag in (asset.etag, "*") for tag in tags)
