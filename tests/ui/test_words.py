"""The words of the pages: one for each thing and state."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from playhead.model import ROW_STATES
from playhead.web import render
from playhead.web.states import STATES
from tests.ui.site import Site

TEMPLATES = sorted((Path(render.__file__).parent / "templates").iterdir())
STYLES = render.STYLES
MOST_CHARACTERS = 140
"""Of a line of a template or style."""
INSTEAD = {
    r"tak(e|es|en|ing) over|took over": "reused, or: the result of an earlier execution",
    r"uncertain": "sent, not confirmed",
    r"[Ff]amily": "replays",
    r"markers": "folder markers",
    r"what failed…|from here…|only this": "Replay failed objects…, Replay this stage…, Replay this object…",
}
"""Words that readers stumbled over, with those that the pages use."""
FORM = re.compile(r"Replay (a stage|this stage|this object|these|failed objects|again|the remaining [\d,]+)…")
"""The names of links to the form of a replay."""


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_has_no_word_that_has_a_plainer_one(template: Path):
    text = re.sub(r"\{[{%#].*?[}%#]\}|<[^>]*>", " ", template.read_text(), flags=re.DOTALL)

    for word, better in INSTEAD.items():
        assert not re.search(rf"\b({word})\b", text), f"write: {better}"


def test_each_state_of_a_message_has_a_word():
    assert set(ROW_STATES) <= set(STATES)


async def test_each_link_to_the_form_of_a_replay_begins_with_replay(site: Site):
    source = await site.run({"a.txt": b"bad", "b.txt": b"good"})
    batch = (await site.replay(source, "input", "upper"))["replay_batch_id"]
    await site.work()
    [letter, *_] = await site.items("dead-letters", execution_id=source)
    pages = [
        *("/replays", f"/replays/{batch}", f"/dead-letters?group={letter['group']}"),
        *(f"/dead-letters/{letter['correlation_id']}", f"/objects?key={source}/input/b.txt"),
        *(f"/executions/{source}?stage=shouted", f"/executions/{source}?tab=objects&stage=shouted"),
    ]
    seen = set()

    for path in pages:
        for text in re.findall(r'<a [^>]*href="/replay(?:\?[^"]*)?"[^>]*>(.*?)</a>', await site.page(path)):
            name = unescape(re.sub(r"<.*?>", "", text))
            assert FORM.fullmatch(name), (path, name)
            seen.add(name)

    assert len(seen) == 6


@pytest.mark.parametrize("file", [*TEMPLATES, *STYLES], ids=lambda path: path.name)
def test_a_template_or_style_can_be_reviewed(file: Path):
    lines = file.read_text().splitlines()

    assert len(lines) <= 400
    assert [line for line in lines if len(line) > MOST_CHARACTERS] == []
