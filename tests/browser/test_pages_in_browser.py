"""Replays, drawings and objects. The numbers in the names are those of the acceptance list.

What no browser is needed for is tested in `tests/ui`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.browser.chromium import NARROW, PHONE, Trap, Visitor, expect
from tests.browser.conftest import Visit
from tests.browser.demo import Demo
from tests.browser.demo_inputs import WIDE_ROUTES
from tests.browser.examples import URLS
from tests.browser.screenshots import DOCS, PHONE as ON_A_PHONE, write
from tests.ui.hostile import OBJECTS

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

MOST_BOXES = 40
TABS = 10
WATCH_BUTTON = """() => {
  window.seen = [];
  const look = () => seen.push(document.querySelector("#replay-button").disabled);
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""
FORM = "/replay?from_execution_id={run}&from_stage=markdown_converted&to_route=handbook/segment"


def button(page: Page) -> Any:
    return page.locator("#replay-button")


def counted(visitor: Visitor, path: str) -> Page:
    """Open the form with its plan."""
    page = visitor.open(f"{path}&count=1")
    expect(button(page)).to_be_enabled()
    return page


def batch_of(page: Page) -> str:
    return page.url.rpartition("/replays/")[2].partition("?")[0]


def own(demo: Demo, name: str, objects: int) -> str:
    """Store objects, and return the form that replays them into the route of a library."""
    demo.ids[name] = demo.store({f"pages/{number:02}.txt": b"text" for number in range(objects)})
    return demo.url(f"/replay?from_execution_id={{{name}}}&from_stage=pages&to_route=library/keep")


def test_12_a_change_of_the_form_disables_the_button_until_it_is_counted_again(demo: Demo, visitor: Visitor):
    page = counted(visitor, demo.url(FORM))
    before = button(page).inner_text()

    page.evaluate(WATCH_BUTTON)
    page.locator("#f-from_path").fill("guide")
    expect(button(page)).to_be_disabled()
    page.locator("#f-from_path").blur()

    expect(button(page)).to_be_enabled()
    assert button(page).inner_text() != before
    assert "from_path=guide" in page.url
    assert page.evaluate("seen.includes(true)")
    expect(page.locator("#f-from_path")).to_have_value("guide")


def test_13_a_double_click_starts_one_replay(demo: Demo, visitor: Visitor):
    page = counted(visitor, own(demo, "double", 3))

    button(page).dblclick()

    page.wait_for_url("**/replays/*")
    assert len(list(demo.deployment.items("/replays", from_execution_id=demo.ids["double"]))) == 1


def ended(demo: Demo, batch: str) -> Any:
    """Wait until all messages of a replay have ended, and return the replay."""
    replay = demo.deployment.get(f"/replays/{batch}")
    demo.deployment.ended(replay["execution_id"])
    return demo.deployment.get(f"/replays/{batch}")


def test_20_a_replay_works_without_javascript(demo: Demo, visit: Visit):
    form = own(demo, "scriptless", 5)
    page = visit(demo.deployment.url, java_script_enabled=False).open(form)

    page.get_by_role("button", name="Count").first.click()
    expect(button(page)).to_have_text("Replay 5 objects")
    button(page).click()

    page.wait_for_url("**/replays/*")
    assert ended(demo, batch_of(page))["objects_published"] == 5


@pytest.mark.slow
def test_one_menu_of_a_replay_is_open_at_a_time_and_escape_closes_it(demo: Demo, visitor: Visitor):
    page = visitor.open(demo.url("/replays/{paused_batch}"))
    page.locator("#pace > summary").click()
    page.locator("#cancel > summary").click()
    expect(page.locator("#pace .sheet")).to_be_hidden()
    expect(page.locator("#cancel .sheet")).to_be_visible()

    page.keyboard.press("Escape")

    expect(page.locator("#cancel .sheet")).to_be_hidden()
    expect(page.locator("#cancel > summary")).to_be_focused()


def test_22_the_page_of_a_replay_survives_a_restart_of_the_server(demo: Demo, visit: Visit):
    deployment = demo.deployment
    server = deployment.serve()
    port = deployment.url.rpartition(":")[2]
    path = own(demo, "survivor", 3)
    page = counted(visit(deployment.url), path)
    button(page).click()
    page.wait_for_url("**/replays/*")
    demo.replay("survived", "survivor", "pages", "library/keep", pace={"rate": 0.2}, wait=False)
    page.goto(demo.url("/replays/{survived_batch}"))
    live = page.locator(".bar .live")
    expect(live).to_have_text("Live")

    server.kill()
    expect(live).to_have_text("Reconnecting")
    deployment.serve("--port", port)

    expect(live).to_have_text("Live")
    deployment.post(demo.url("/replays/{survived_batch}/pause"))
    expect(page.locator("[data-live=state]")).to_have_text("Paused")


# -- drawings ----


def boxes(page: Page) -> list[str]:
    """Return the ids of the boxes of a drawing. A box may have two links: its route, and its stage."""
    found: list[str] = page.locator("[data-graph] > g > a:first-child[id]").evaluate_all(
        "all => all.map(one => one.id)"
    )
    return found


def test_keys_lead_through_the_differences_of_a_replay_and_record_what_looks_right(
    demo: Demo, visitor: Visitor
):
    page = visitor.open(demo.url(URLS["result-changed"]))
    place = page.locator("#oc small")
    expect(place).to_have_text("1 of 7")

    page.keyboard.press("j")
    expect(place).to_have_text("2 of 7")
    page.keyboard.press("k")
    expect(place).to_have_text("1 of 7")
    page.keyboard.press("y")  # without a name, the browser asks for it
    expect(page.locator("#reviewer")).to_be_focused()
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")  # keeps the name, and records nothing
    expect(page.locator("#reviewer")).not_to_be_focused()
    expect(page.locator("#reviewer")).to_have_value("Ada")
    expect(place).to_have_text("1 of 7")
    page.keyboard.press("y")
    expect(place).to_have_text("2 of 7")
    page.keyboard.press("n")
    expect(place).to_have_text("3 of 7")
    expect(page.locator("#ls + .dim")).to_have_text("2 of 7 reviewed: 1 right, 1 wrong")


def test_25_the_failing_route_and_a_route_that_is_searched_for_are_drawn(demo: Demo, visitor: Visitor):
    page = visitor.open(demo.url("/executions/{wide}"))
    expect(page.locator("[data-graph]")).to_contain_text("shop_03_07")

    page.get_by_label("Find a route").fill("shop_05_11")
    page.get_by_label("Find a route").press("Enter")

    expect(page.locator("[data-graph]")).to_contain_text("shop_05_11")
    assert len(boxes(page)) <= MOST_BOXES
    page.get_by_role("link", name="Table", exact=True).click()
    expect(page.locator("#pipeline tbody tr")).to_have_count(WIDE_ROUTES)


def test_27_the_drawing_is_usable_by_keyboard_alone(demo: Demo, visitor: Visitor):
    page = visitor.open(demo.url("/executions/{run}"))
    focused = "document.activeElement.textContent.trim()"

    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.layer !== undefined"):
            break
    assert "input" in page.evaluate(focused)
    for route in ("convert", "segment", "index"):
        page.keyboard.press("ArrowRight")
        assert page.evaluate(focused).startswith(route), page.evaluate(focused)
    page.keyboard.press("ArrowDown")
    assert not page.evaluate(focused).startswith("index")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused).startswith("index")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused).startswith("segment")
    # A box shows that it has the focus, and Enter opens it.
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**route=segment**")


@pytest.mark.parametrize(
    "path",
    [
        "/executions/{run}?stage=vectors",
        "/objects?key={second}/vectors/guide/replay-000/0001.json",
        "/executions/{run}?tab=config",
    ],
)
def test_what_is_wider_than_the_window_begins_at_what_is_chosen(demo: Demo, visit: Visit, path: str):
    page = visit(demo.deployment.url, viewport=PHONE).open(demo.url(path))

    for one in page.locator(".graph [aria-current], .lin [aria-current], .tabs [aria-current]").all():
        box = one.bounding_box()
        assert box
        assert 0 <= box["x"] < box["x"] + box["width"] <= PHONE["width"]


def test_choosing_a_stage_keeps_the_place_and_the_focus(demo: Demo, visit: Visit):
    page = visit(demo.deployment.url, viewport=PHONE).open(demo.url("/executions/{run}"))
    chosen = page.locator(".stagebar h3 .m").last
    before = chosen.inner_text()
    link = page.locator("[data-graph] a", has_text="segments").last
    link.scroll_into_view_if_needed()
    place = page.evaluate("scrollY")
    assert place > 0

    link.click()

    expect(chosen).to_have_text("segments")
    assert "stage=segments" in page.url
    assert page.evaluate("scrollY") == place
    assert "segments" in page.evaluate("document.activeElement.textContent")
    page.go_back()
    expect(chosen).to_have_text(before)


@pytest.mark.parametrize("path", ["/executions/{ledger}", "/configs/{ledger_config}"])
def test_a_large_drawing_begins_on_a_phone_with_a_box(demo: Demo, visit: Visit, path: str):
    page = visit(demo.deployment.url, viewport=PHONE).open(demo.url(path))

    assert page.evaluate("""() => {
      document.querySelector(".graph").scrollIntoView();
      const view = document.querySelector(".graph").getBoundingClientRect();
      const end = Math.min(view.bottom, innerHeight);
      return [...document.querySelectorAll("[data-graph] :is(.g-box, .g-stage)")].some((one) => {
        const { left, right, top, bottom } = one.getBoundingClientRect();
        return left >= view.left && right <= view.right && top >= view.top && bottom <= end;
      });
    }""")


@pytest.mark.parametrize("name", ["{run}/input/guide/replay-000.html", "{ledger}/input/{ledger_input}"])
def test_no_line_of_a_lineage_map_runs_behind_a_box(demo: Demo, visitor: Visitor, name: str):
    page = visitor.open(demo.url(f"/objects?key={name}"))

    behind, lines = page.evaluate("""() => {
      const drawn = (what) => [...document.querySelectorAll(`.lin [data-graph] ${what}`)];
      const boxes = drawn(".g-box").map((one) => one.getBoundingClientRect()), lines = drawn(".g-edge");
      const isBehind = (line) => {
        const at = line.getScreenCTM(), length = line.getTotalLength();
        for (let step = 0; step <= 60; step++) {
          const { x, y } = line.getPointAtLength(length * step / 60).matrixTransform(at);
          const is = (box) => x > box.left + 2 && x < box.right - 2 && y > box.top + 2 && y < box.bottom - 2;
          if (boxes.some(is)) return true;
        }
        return false;
      };
      return [lines.filter(isBehind).length, lines.length];
    }""")

    assert lines > 5
    assert behind == 0


@pytest.mark.parametrize("viewport", [NARROW, PHONE], ids=["narrow", "phone"])
def test_a_lineage_map_keeps_the_names_of_its_rows_beside_what_is_chosen(
    demo: Demo, visit: Visit, viewport: dict[str, int]
):
    page = visit(demo.deployment.url, viewport=viewport).open(demo.url(URLS["object"]))

    title, name = page.locator(".lin .g-sel .g-name").bounding_box(), page.locator(".l-names").bounding_box()

    assert title
    assert name
    assert page.locator(".lin").evaluate("lin => lin.scrollLeft") > 0
    assert 0 <= name["x"] < name["x"] + name["width"] <= title["x"] < viewport["width"]


# -- objects ----


@pytest.mark.slow
@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.full)], ids=["some", "all"])
def test_30_no_script_of_100_hostile_objects_runs_and_no_request_leaves(
    demo: Demo, visit: Visit, trap: Trap, step: int
):
    """The objects try to contact a host, to open a dialog, to leave the page, and to set `owned` in it."""
    assert len(OBJECTS) >= 100
    objects = OBJECTS[::step]
    execution = demo.store(
        {f"hostile/{one.path}": one.data for one in objects},
        {f"hostile/{one.path}": json.dumps({"content_type": one.content_type}).encode() for one in objects},
    )
    visitor = visit(demo.deployment.url, is_hostile=True)
    dialogs: list[str] = []

    def on_dialog(dialog: Any) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    visitor.context.on("dialog", on_dialog)
    tabs = [visitor.context.new_page() for _ in range(TABS)]
    for at in range(0, len(objects), TABS):
        shown = list(zip(tabs, objects[at : at + TABS], strict=False))
        for tab, one in shown:
            query = {"key": f"{execution}/hostile/{one.path}", "view": "rendered"}
            tab.goto(f"/objects?{urlencode(query)}", wait_until="commit")
        for tab, one in shown:
            tab.wait_for_load_state("load")
            assert tab.url.startswith(f"{visitor.origin}/objects?"), one.path
            assert tab.locator("h1").count() == 1, one.path
            assert not tab.evaluate("'owned' in window"), one.path
    assert dialogs == []
    assert trap.connections == 0


# -- pictures (`make screenshots`) ----


def test_a_page_is_written_as_a_picture(demo: Demo, visitor: Visitor, tmp_path: Path):
    write(visitor, demo, ["home"], "light", tmp_path)

    assert (tmp_path / "home-light.png").read_bytes().startswith(b"\x89PNG")


def test_the_pictures_of_the_documentation_are_of_pages():
    assert {*DOCS, *ON_A_PHONE} <= set(URLS)


def test_a_config_is_checked_while_it_is_typed_and_a_change_takes_the_button_back(
    demo: Demo, visitor: Visitor
):
    page = visitor.open("/apply?config=handbook")
    text, checked = page.locator("#f-source"), page.locator("#checked")
    source = text.input_value()
    apply = page.get_by_role("button", name="Apply as version")

    text.press("ControlOrMeta+Home")
    text.press_sequentially("a: [")
    expect(checked).to_contain_text("2:1")
    expect(checked).to_contain_text("Nothing can be applied")
    expect(text).to_be_focused()
    expect(text).to_have_value("a: [" + source)
    expect(apply).to_have_count(0)

    text.fill(source.replace("name: handbook", "name: handbook2"))
    expect(checked).to_contain_text("error")
    text.fill(source.replace("cut into sections", "in sections"))
    expect(apply).to_be_visible()
    expect(checked.locator(".diff .add")).to_have_count(1)
    text.fill(source)
    expect(apply).to_have_count(0)
    assert demo.deployment.get("/configs/handbook")["source"] == source


def test_a_folder_of_the_browser_is_run_and_the_command_follows_the_form(
    demo: Demo, visitor: Visitor, tmp_path: Path
):
    (tmp_path / "pages" / "de").mkdir(parents=True)
    (tmp_path / "pages" / "de" / "a.txt").write_text("one")
    page = visitor.open("/run?config=library")

    page.locator("#f-folder").set_input_files(tmp_path / "pages")
    slow: list[Route] = []
    page.route("**/run?*take=changed*", lambda route: slow.append(route))
    page.locator("#f-take").select_option("changed")
    page.locator("#f-changed_since").fill("tag:first")
    page.locator("#f-take").select_option("reuse")
    for request in slow:  # the answer to the newest state counts, although older ones take longer
        request.continue_()
    expect(page.locator("#command")).to_contain_text("playhead run library FILES --reuse")
    expect(page.locator("#curl")).to_contain_text("reuse=true")
    page.locator("#f-take").select_option("")
    expect(page.locator("#command")).not_to_contain_text("--reuse")
    page.get_by_role("button", name="Start the run").click()

    page.wait_for_url("**/executions/*")
    execution = page.url.rpartition("/")[2]
    [found] = demo.deployment.items("/storage/objects", execution_id=execution, stage="input")
    assert found["key"] == f"{execution}/input/de/a.txt"


def test_a_folder_of_the_store_is_replayed_into_the_entry_of_a_config(demo: Demo, visit: Visit):
    stored = demo.store({f"pages/de/{number}.txt": b"text" for number in range(3)} | {"pages/a.txt": b"text"})
    page = visit(demo.deployment.url, java_script_enabled=False).open("/run?config=library")

    page.locator("#f-from").fill(stored)
    page.locator("#f-stage").fill("pages")
    page.locator("#f-path").fill("de")
    page.get_by_role("button", name="Count the objects").click()

    expect(page.locator("#f-to_route")).to_have_value("library/keep")
    expect(button(page)).to_have_text("Replay 3 objects")
