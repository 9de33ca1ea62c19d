"""A replay, from the form to its end. The numbers in the names are those of the acceptance list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.processes import client
from tests.browser.chromium import Visitor, expect, wait_until
from tests.browser.conftest import Visit
from tests.browser.demo import Demo

if TYPE_CHECKING:
    from playwright.sync_api import Page

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


def plan_of(demo: Demo, page: Page) -> Any:
    return demo.deployment.get(f"/replay/plans/{page.locator('[name=plan_id]').input_value()}")


def own(demo: Demo, name: str, objects: int) -> str:
    """Store objects, and return the form that replays them into the route of a library."""
    demo.ids[name] = demo.store({f"pages/{number:02}.txt": b"text" for number in range(objects)})
    return demo.url(f"/replay?from_execution_id={{{name}}}&from_stage=pages&to_route=library/keep")


def test_11_the_button_has_the_count_of_the_plan(demo: Demo, visitor: Visitor):
    page = counted(visitor, demo.url(FORM))

    plan = plan_of(demo, page)
    assert plan["objects"] > 0
    expect(button(page)).to_have_text(f"Replay {plan['objects']} objects")
    expect(page.locator(".plan .num")).to_contain_text(str(plan["objects"]))


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


def test_13_a_form_that_is_sent_twice_starts_one_replay(demo: Demo, visitor: Visitor):
    """Also without the script: the form has a key."""
    page = counted(visitor, own(demo, "twice", 3))
    body = page.evaluate(
        "new URLSearchParams(new FormData(document.querySelector('#replay-form'))).toString()"
    )

    with client(visitor.origin) as http:
        headers = {"Origin": visitor.origin, "Content-Type": "application/x-www-form-urlencoded"}
        sent = [http.post("/replay", content=body, headers=headers) for _ in range(2)]

    assert [one.status_code for one in sent] == [303, 303]
    assert sent[0].headers["location"] == sent[1].headers["location"]
    assert len(list(demo.deployment.items("/replays", from_execution_id=demo.ids["twice"]))) == 1


def test_14_an_object_that_is_deleted_after_the_plan_is_named_and_nothing_is_replayed(
    demo: Demo, visitor: Visitor
):
    page = counted(visitor, own(demo, "deleted", 4))
    (demo.deployment.objects / demo.ids["deleted"] / "pages/02.txt").unlink()

    with page.expect_response(lambda answer: answer.request.method == "POST") as sent:
        button(page).click()

    assert sent.value.status == 409
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("plan_changed")
    expect(problem).to_contain_text("pages/02.txt")
    refused = list(demo.deployment.items("/replays", from_execution_id=demo.ids["deleted"]))
    assert [(one["state"], one["objects_published"]) for one in refused] == [("refused", 0)]


def test_15_an_object_that_is_added_after_the_plan_is_not_replayed(demo: Demo, visitor: Visitor):
    page = counted(visitor, own(demo, "added", 4))
    (demo.deployment.objects / demo.ids["added"] / "pages/99.txt").write_bytes(b"text")

    button(page).click()

    page.wait_for_url("**/replays/*")
    replay = ended(demo, batch_of(page))
    assert replay["objects_found"] == replay["objects_published"] == 4


def ended(demo: Demo, batch: str) -> Any:
    """Wait until all messages of a replay have ended, and return the replay."""
    replay = demo.deployment.get(f"/replays/{batch}")
    demo.deployment.ended(replay["execution_id"])
    return demo.deployment.get(f"/replays/{batch}")


def test_16_a_worker_with_old_code_is_named_and_the_replay_is_refused(demo: Demo, visitor: Visitor):
    with demo.stale_worker() as worker:
        page = counted(visitor, demo.url(FORM))

        warning = page.locator(".stale-workers", has_text="sections")
        expect(warning).to_contain_text(f"worker {worker.popen.pid} on ")
        button(page).click()
        expect(page.locator("main")).to_contain_text("nothing was replayed: ")

        current = page.get_by_label("Start only if all workers")
        expect(current).to_be_checked()
        current.uncheck()
        page.get_by_role("button", name="Count again").first.click()
        page.wait_for_url("**require_code=0**")
        expect(current).not_to_be_checked()
        expect(button(page)).to_be_enabled()
    page.get_by_role("button", name="Count again").first.click()
    expect(page.locator(".stale-workers")).to_have_count(0)


def test_17_routes_with_external_effects_offer_run_skip_and_refuse(demo: Demo, visitor: Visitor):
    page = counted(visitor, demo.url(FORM))

    for route in ("embed", "push_vectors"):
        choices = page.get_by_role("radiogroup", name=f"What the replay does in {route}")
        assert choices.get_by_role("radio").evaluate_all("all => all.map(one => one.value)") == [
            "run",
            "skip",
            "refuse",
        ]
    page.get_by_role("radiogroup", name="What the replay does in embed").get_by_text("skip").click()
    expect(page.locator(".plan")).to_contain_text("embed is skipped")
    expect(button(page)).to_be_enabled()
    assert plan_of(demo, page)["request"]["effects"]["embed"] == "skip"
    page.get_by_role("radiogroup", name="What the replay does in embed").get_by_text("refuse").click()
    expect(page.locator(".plan")).to_contain_text("The replay would be refused")
    expect(button(page)).to_be_disabled()


def test_18_the_form_shows_what_changed_in_the_config_since_the_source(demo: Demo, visitor: Visitor):
    page = counted(visitor, demo.url(FORM) + "&config_version=1")

    diff = page.get_by_role("region", name="Difference between")
    assert "level" in diff.locator("tr.del").inner_text()
    assert "level" in diff.locator("tr.add").inner_text()


def test_19_the_list_of_replays_has_the_reason(demo: Demo, visitor: Visitor):
    """There are no users yet, so the requester is the reason that the request gives."""
    page = counted(visitor, own(demo, "reasoned", 2))
    page.locator("#f-reason").fill("asked by the night shift")
    button(page).click()
    page.wait_for_url("**/replays/*")
    batch = batch_of(page)
    expect(page.locator(".facts").first).to_contain_text("asked by the night shift")

    page.goto("/replays")

    expect(page.locator(f"#r-{batch}")).to_contain_text("asked by the night shift")


def test_20_a_replay_works_without_javascript(demo: Demo, visit: Visit):
    form = own(demo, "scriptless", 5)
    page = visit(demo.deployment.url, java_script_enabled=False).open(form)

    page.get_by_role("button", name="Count").first.click()
    expect(button(page)).to_have_text("Replay 5 objects")
    button(page).click()

    page.wait_for_url("**/replays/*")
    assert ended(demo, batch_of(page))["objects_published"] == 5


def test_21_pause_resume_and_cancel_agree_with_the_api(demo: Demo, visitor: Visitor):
    demo.ids["steered_source"] = demo.store({f"pages/{n}.txt": b"text" for n in range(9)})
    demo.replay("steered", "steered_source", "pages", "library/keep", pace={"rate": 0.2}, wait=False)
    page = visitor.open(demo.url("/replays/{steered_batch}"))

    def agrees(state: str) -> None:
        """Wait until the page has the numbers of the API: a message may be published between the two."""

        def same() -> bool:
            found = api()
            shown = [text(page, name) for name in ("found", "published", "state")]
            numbers = [f"{found['objects_found']:,}", f"{found['objects_published']:,}"]
            return found["state"] == state and shown == [*numbers, state.capitalize()]

        wait_until(page, same)

    def api() -> Any:
        return demo.deployment.get(demo.url("/replays/{steered_batch}"))

    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-live=state]")).to_have_text("Paused")
    agrees("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    agrees("publishing")
    page.locator("#cancel > summary").click()
    page.get_by_role("button", name="Cancel publishing").click()
    expect(page.locator("[data-live=state]")).to_have_text("Cancelled")
    agrees("cancelled")
    numbers = [int(text(page, name)) for name in ("found", "published", "failed", "uncertain", "to_go")]
    assert numbers[0] == sum(numbers[1:])


def text(page: Page, name: str) -> str:
    found: str = page.locator(f"[data-live='{name}']").first.inner_text()
    return found


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
