"""Configs and inputs of the demo data. The same in every run."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Final

HANDBOOK: Final = """\
version: "1.0"
name: handbook
description: The handbook, cut into sections for the search
entry: convert
error_handling: {max_attempts: 2, retry_delay_seconds: 0.05}
routes:
  convert:
    adapters: [{type: check_utf8}, {type: html_to_markdown}]
    outbound: {stage: markdown_converted, to: [segment, summarise, links]}
  segment:
    adapters: [{type: sections, config: {level: LEVEL}}]
    outbound: {stage: segments, to: [index, embed]}
  summarise:
    adapters: [{type: summary}]
    outbound: {stage: summaries, to: [notify]}
    on_replay: run
    error_handling: {max_attempts: 1}
  links:
    adapters:
      - type: link_list
        condition: {field: path, operator: matches, value: "(guide|release|reference)/.*", otherwise: drop}
    outbound: {stage: links}
  index:
    adapters: [{type: sqlite_search, config: {path: search.db}}]
  embed:
    adapters: [{type: vector}]
    outbound: {stage: vectors, to: [push_vectors]}
    on_replay: run
    error_handling: {max_attempts: 1}
  notify:
    adapters: [{type: post_message}]
    on_replay: skip
    error_handling: {max_attempts: 1}
  push_vectors:
    external: true
    inbound: {queue: search.vectors}
"""
LIBRARY: Final = """\
version: "1.0"
name: library
description: Objects of all kinds
entry: keep
datasets: {library: {}}
routes:
  keep:
    adapters: [{type: passthrough}]
    outbound: {stage: kept}
"""
LETTERS: Final = """\
version: "1.0"
name: letters
entry: read
error_handling: {max_attempts: 1}
routes:
  read:
    adapters: [{type: passthrough}]
    outbound: {stage: texts, to: [send]}
  send:
    adapters: [{type: fail}]
    outbound: {stage: sent}
    on_replay: refuse
"""
SOUND_STEPS: Final = """\
from playhead import Item, adapter


@adapter("transcribe", produces="text/plain")
def transcribe(item: Item) -> str:
    \"\"\"Turn speech into text.\"\"\"
    return "text"
"""
SOUNDS: Final = """\
version: "1.0"
name: sounds
entry: transcribe
routes:
  transcribe:
    adapters: [{type: transcribe}]
    outbound: {stage: texts}
"""
BRANCHES: Final = 6
SHOPS: Final = 33
WIDE_ROUTES: Final = 1 + BRANCHES * (1 + SHOPS)
"""More than a drawing shows at once."""
CAUSES: Final = ("currency", "rates", "customer")


def wide(failing: int = 1) -> str:
    """Return a config of about 200 routes in two levels below the first. `failing` of them fail.

    Other programs consume most of the queues: each queue that a worker polls takes time of it.
    """
    branches = range(1, BRANCHES + 1)
    lines = [
        'version: "1.0"\nname: warehouse\nentry: take\nerror_handling: {max_attempts: 1}\nroutes:',
        "  take:\n    adapters: [{type: passthrough}]\n    outbound:",
        f"      {{stage: taken, to: [{', '.join(f'region_{branch:02}' for branch in branches)}]}}",
    ]
    for branch in branches:
        shops = [f"shop_{branch:02}_{shop:02}" for shop in range(1, SHOPS + 1)]
        name = f"region_{branch:02}"
        lines.append(f"  {name}:\n    adapters: [{{type: passthrough}}]\n    outbound:")
        lines.append(f"      {{stage: {name}, to: [{', '.join(shops)}]}}")
        for at, shop in enumerate(shops):
            if branch == 3 and 6 <= at < 6 + failing:
                step = f"{{type: post, config: {{cause: {CAUSES[at % len(CAUSES)]}}}}}"
            elif at == 0:
                step = "{type: passthrough}"
            else:
                lines.append(f"  {shop}: {{external: true}}")
                continue
            lines.append(f"  {shop}:\n    adapters: [{step}]\n    outbound: {{stage: {shop}}}")
    return "\n".join(lines) + "\n"


_FOLDERS: Final = ("guide", "release/4.1", "reference", "legacy/1998")
_TOPICS: Final = ("replay", "queues", "stages", "workers", "lineage", "configs", "adapters", "effects")


def handbook(pages: int) -> dict[str, bytes]:
    """Return pages by path. One in 10 has a heading without text; three are not UTF-8."""
    return dict(_page(number) for number in range(pages))


def _page(number: int) -> tuple[str, bytes]:
    folder, topic = _FOLDERS[number % 4], _TOPICS[number // 4 % 8]
    path = f"{folder}/{topic}-{number:03}.html"
    body = "".join(
        f"<h2>{part} {topic}</h2><p>Page {number} is about {topic}. "
        f'See <a href="/{_FOLDERS[0]}/{_TOPICS[(number + at) % 8]}">another page</a>.</p>'
        for at, part in enumerate(("What is", "How to change"))
    )
    if number % 10 == 5:
        body += "<h2>Notes</h2>"
    text = f"<h1>{topic.title()} {number}</h1><p>An introduction to {topic}.</p>{body}"
    return path, text.encode() + (b"\xff\xfe" if number % 13 == 3 else b"")


def png(side: int) -> bytes:
    """Return a picture: a colour gradient."""
    rows = b"".join(
        b"\0" + b"".join(struct.pack("BBB", 29, 255 * x // side, 255 * y // side) for x in range(side))
        for y in range(side)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def pdf(text: str) -> bytes:
    """Return a document with one page."""
    content = f"BT /F1 24 Tf 40 720 Td ({text}) Tj ET".encode()
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    made, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(made))
        made += b"%d 0 obj%s endobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return made + (
        b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
        % (table, len(made))
    )


def library() -> dict[str, bytes]:
    """Return inputs of all kinds, some of them hostile."""
    script = "<script>fetch('http://127.0.0.1:9/stolen'); document.title = 'owned'</script>"
    return {
        "page.html": f"<h1>Page</h1><p>Text with a script.</p>{script}<img src=x onerror=alert(1)>".encode(),
        "drawing.svg": (
            b'<svg xmlns="http://www.w3.org/2000/svg" width="80" height="80" onload="alert(1)">'
            b'<circle cx="40" cy="40" r="30" fill="#1d4ed8"/><script>alert(1)</script></svg>'
        ),
        "notes.md": (
            "# Notes\n\nSome *text*, a [link](javascript:alert(1)) and a list:\n\n- one\n- two\n\n"
            f"```python\nprint(1)\n```\n\n![picture](http://127.0.0.1:9/pixel.png)\n\n{script}\n"
        ).encode(),
        "data.json": json.dumps(
            {"name": "Playhead", "counts": list(range(12)), "nested": {"a": None}}
        ).encode(),
        "table.csv": b"name,count\nconvert,1201\nsegment,1182\n",
        "picture.png": png(96),
        "paper.pdf": pdf("A paper"),
        "plain.txt": "Plain text, with ümlauts and 漢字.\n".encode(),
        "bytes.bin": bytes(range(256)) * 8,
        "empty.txt": b"",
        "names/a b & c's.txt": b"A name with spaces.\n",
        "names/<script>alert(1)<.txt": b"A hostile name.\n",
        "names/überschrift 漢字.md": "# Überschrift\n".encode(),
    }
