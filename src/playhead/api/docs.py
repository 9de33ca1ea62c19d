"""The API's reference page. All its files are part of the package, so it works without internet access."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Final

from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from playhead.api.asking import operations

ASSETS: Final = "/docs/assets"
_SCRIPT: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)

router = operations(include_in_schema=False)


def assets() -> StaticFiles:
    return StaticFiles(directory=Path(__file__).parent / "static" / "swagger-ui")


@router.get("/docs", scope="any", response_class=HTMLResponse)
async def read_docs() -> HTMLResponse:
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Playhead",
        swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{ASSETS}/swagger-ui.css",
        swagger_favicon_url="data:,",
        swagger_ui_parameters={"validatorUrl": None},  # by default it contacts a server on the internet
    )
    page.headers["Content-Security-Policy"] = _policy(bytes(page.body))
    return page


def _policy(page: bytes) -> str:
    """Return the policy of the page: it may load files of this server, and run its own script, by hash."""
    scripts = [f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in _SCRIPT.findall(page)]
    return "; ".join(
        (
            "default-src 'none'",
            " ".join(["script-src 'self'", *scripts]),
            "style-src 'self' 'unsafe-inline'",  # Swagger UI sets styles of single elements
            "img-src 'self' data:",
            "connect-src 'self'",
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        )
    )
