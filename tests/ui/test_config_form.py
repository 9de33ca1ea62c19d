"""The form that applies a config."""

from __future__ import annotations

import re
from html import unescape

from tests.api.server import WORDS
from tests.ui.site import Site

PATH = "/apply"
LOUDER = WORDS.replace("to: [split]", "to: [split, again]") + (
    "  again:\n    adapters: [{type: split}]\n    outbound: {stage: again}\n"
)
NEW = WORDS.replace("name: words", "name: other").replace("queue: elsewhere", "queue: there")


def mark_of(page: str) -> str:
    found = re.search(r'name="seen" value="(\w+)"', page)
    assert found
    return found.group(1)


async def test_an_edit_is_checked_shown_as_a_difference_and_applied(site: Site):
    assert '<a class="b" href="/apply?config=words">Edit…</a>' in await site.page("/configs/words")
    assert "entry: upper" in await site.page(f"{PATH}?config=words")

    checked = await site.send(PATH, source=LOUDER)

    assert checked.status_code == 200
    assert "Apply as version 2 of words" in checked.text
    assert re.search(r"New routes</dt><dd class=\"m\">again</dd>", checked.text)
    assert re.search(r"Changed routes</dt><dd class=\"m\">upper</dd>", checked.text)
    assert re.search(r"4 lines added, 1 removed since version\s+1", checked.text)
    assert "<ins>, again</ins>" in re.sub(r"</ins><ins>", "", checked.text)
    assert (await site.twin("/configs/words"))["view"]["newest"] == 1

    applied = await site.send(PATH, source=LOUDER, seen=mark_of(checked.text))

    assert applied.status_code == 303
    assert applied.headers["location"] == "/configs/words?version=2&against=1"
    assert (await site.twin("/configs/words"))["view"]["config"]["source"] == LOUDER
    again = await site.send(PATH, source=LOUDER, seen=mark_of(checked.text))
    assert again.headers["location"] == "/configs/words?version=2"  # a second click


async def test_faults_are_listed_with_their_place_and_the_text_is_kept(site: Site):
    source = WORDS.replace("type: split", "type: splitt").replace("entry: upper", "entry: uper")

    checked = await site.send(PATH, source=source)

    assert "The text has 2 errors. Nothing can be applied." in checked.text
    assert re.search(r'<td class="m">3:8</td>', checked.text)
    assert "<code>entry: uper</code>" in checked.text
    assert f">\n{source}</textarea>" in unescape(checked.text)
    assert 'name="seen"' not in checked.text
    refused = await site.send(PATH, source=source, seen="x")
    assert refused.status_code == 400
    assert "The text has 2 errors" in refused.text


async def test_a_new_config_is_applied(site: Site):
    assert 'href="/apply"' in await site.page("/configs")
    checked = (await site.send(PATH, source=NEW.replace("\n", "\r\n"))).text
    assert "other is a new config" in checked
    assert "/api/v1/configs/validate" in checked
    assert "playhead config apply other.yaml" in checked

    applied = await site.send(PATH, source=NEW.replace("\n", "\r\n"), seen=mark_of(checked))

    assert applied.headers["location"] == "/configs/other?version=1"
    assert (await site.twin("/configs/other"))["view"]["config"]["source"] == NEW


async def test_a_text_or_a_version_that_has_changed_since_it_was_shown_is_not_applied(site: Site):
    seen = mark_of((await site.send(PATH, source=LOUDER)).text)

    other = await site.send(PATH, source=LOUDER.replace("stage: again", "stage: more"), seen=seen)
    await site.apply(WORDS.replace("stage: shouted", "stage: loud"))
    later = await site.send(PATH, source=LOUDER, seen=seen)

    assert (other.status_code, later.status_code) == (409, 409)
    assert "nothing was applied: the text, or the newest version of the config, has changed" in later.text
    assert "Apply as version 3 of words" in later.text
    assert (await site.twin("/configs/words"))["view"]["newest"] == 2


async def test_an_equivalent_text_cannot_be_applied(site: Site):
    checked = (await site.send(PATH, source=WORDS + "# a comment\n")).text

    assert "equivalent to version 1 of words" in checked
    assert 'name="seen"' not in checked


async def test_hostile_text_is_escaped(site: Site):
    page = (await site.send(PATH, source="</textarea><script>alert(1)</script>: [&")).text

    assert "<script>alert" not in page
    assert "&lt;/textarea&gt;&lt;script&gt;alert(1)" in page


async def test_the_form_of_an_unknown_config_is_not_found(site: Site):
    await site.page(f"{PATH}?config=nothing", 404)
    await site.page(f"{PATH}?config=words&version=7", 404)
