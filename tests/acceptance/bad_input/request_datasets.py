"""Rows for requests about datasets that cannot be right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.acceptance.bad_input.requests import SHAPE, TEXT, Row, get, post, raw

# -- datasets --------------------------------------------------------------------------------------

SHOWN = "datasets/shown"
SPARE = "datasets/unseen?config=spare"
OF_A_DATASET = ("", "/publications", "/publications/1", "/switches", "/notes", "/objects", "/changes?since=0")
OF_A_PUBLICATION = ("/notes?at=9", "/objects?at=9", "/changes?since=9", "/changes?since=0&until=9")
CHANGING = ("publications/1/cancel", "publications/1/pin", "publications/1/unpin", "rollback", "release")


def _publish(code: str, *words: str, to: str = SHOWN, executions: tuple[str, ...] = (), **more: Any) -> Row:
    path, sign, query = to.partition("?")
    return post(f"{path}/publications{sign}{query}", {"executions": list(executions), **more}, code, *words)


def of_datasets() -> Iterator[Row]:
    for name, code, words in (
        ("shwon", "dataset_not_found", ("no dataset 'shwon'", "docs/shown, spare/unseen, twin/unseen")),
        ("unseen", "dataset_ambiguous", ("2 configs", "spare/unseen, twin/unseen")),
    ):
        for part in (*OF_A_DATASET, "/content/shouted/a.txt"):
            yield get(f"datasets/{name}{part}", code, *words)
        for part in CHANGING:
            yield post(f"datasets/{name}/{part}", None, code, *words)
        yield _publish(code, *words, to=f"datasets/{name}", executions=("RUN",))
    yield get(SHOWN, "dataset_not_found", "other/shown", config="other")
    yield get("executions/current:shwon", "dataset_not_found", "docs/shown")
    yield get("executions/current:unseen", "dataset_ambiguous", "spare/unseen")
    missing = ("publication_not_found", "no publication 9", "newest is 1")
    for part in ("/publications/9", *OF_A_PUBLICATION, "/content/shouted/a.txt?at=9"):
        yield get(f"{SHOWN}{part}", *missing)
    for verb in ("cancel", "pin", "unpin"):
        yield post(f"{SHOWN}/publications/9/{verb}", None, *missing)
    yield post(f"{SHOWN}/rollback", {"to": 9}, *missing)
    yield get("executions/current:shown@9", *missing)
    for part in ("notes", "objects", "code", "stale", "changes?since=0", "content/shouted/a.txt"):
        sign = "&" if "?" in part else "?"
        words = ("no current publication", "playhead publish")
        yield get(f"datasets/unseen/{part}{sign}config=spare", "nothing_published", *words)
    yield post("datasets/unseen/rollback?config=spare", {}, "nothing_published", "playhead publish")
    yield post(f"{SHOWN}/rollback", {}, "nothing_published", "before 1", "playhead publications")
    yield get(f"{SHOWN}/content/shouted/none.txt", "object_not_found", "none.txt")
    yield get(f"{SHOWN}/content/shouted/a//b", "invalid_path", "empty segment")
    yield get(f"{SHOWN}/objects", "stage_not_found", "shout", stage="shout")
    yield get(f"{SHOWN}/objects", "invalid_path", "needs a stage", path="a.txt")
    yield get(f"{SHOWN}/stale", "route_not_found", "its routes: shout", route="uper")
    for part in ("publications", "notes", "objects", "code", "stale", "changes?since=0"):
        sign = "&" if "?" in part else "?"
        for cursor in ("!", "RUN", "1", "0.x", "9" * 40, "MQ"):
            yield get(f"{SHOWN}/{part}{sign}cursor={cursor}", "invalid_cursor", "next_cursor")
    for number in ("0", "-1", "x", "9" * 40, str(2**64)):
        yield get(f"{SHOWN}/publications/{number}", SHAPE, "path")
        for verb in ("pin", "cancel"):
            yield post(f"{SHOWN}/publications/{number}/{verb}", None, SHAPE, "path")
        for part in ("notes?", "objects?", "changes?since=1&", "content/shouted/a.txt?"):
            name = "until" if "since" in part else "at"
            yield get(f"{SHOWN}/{part}{name}={number}", SHAPE, name)
    for number in ("0", "x", "", "9" * 40):
        yield get(f"executions/current:shown@{number}", "publication_not_found")
        key = f"current:shown@{number}/shouted/a.txt"
        yield get("storage/objects/content", "publication_not_found", key=key)
    yield get(f"{SHOWN}/changes", SHAPE, "since", "missing")

    yield _publish("execution_not_found", "UNKNOWN", executions=("UNKNOWN",))
    yield _publish("not_a_base", "it is a publication", executions=("PUBLICATION",))
    yield _publish("not_a_base", "another config than spare", to=SPARE, executions=("RUN",))
    yield _publish("not_a_base", "2 runs are named", "--base", executions=("RUN", "OLDER"))
    yield _publish("not_a_base", "does not define the inputs", executions=("RUN",), base="REMOVED")
    yield _publish("older_results", "older than the run", "--allow-older", executions=("OLDER",))
    yield _publish("publication_moved", "switch 1", "expects switch 9", executions=("RUN",), expect_seq=9)
    yield post(f"{SHOWN}/rollback", {"expect_seq": 9}, "publication_moved", "switch 1", "expects switch 9")
    yield _publish(
        *("publication_shrinks", "1 of 2 inputs", "--allow-removed"),
        executions=("OLDER",),
        allow=["older"],
        dry_run=True,
    )
    yield _publish(
        "source_not_published", "its source is execution OLDER", executions=("REMOVED",), dry_run=True
    )
    yield _publish(
        "source_superseded", "1 of 1", "--skip-superseded", executions=("SUPERSEDED",), dry_run=True
    )
    fields: tuple[tuple[str, Any], ...] = (
        *(("base", "x"), ("add", ["x"]), ("on_failure", "never"), ("allow", ["all"]), ("expect_seq", -1)),
        *(("reason", "x" * 1001), ("reason", "a\0b"), ("dry_run", 1.5), ("automatic", True)),
    )
    for name, value in fields:
        yield _publish(SHAPE, name, executions=("RUN",), **{name: value})
    yield _publish(SHAPE, "at least one execution")
    yield _publish(SHAPE, "too_long", executions=("RUN",) * 101)
    for name, value in (("to", 0), ("to", 2**64), ("expect_seq", 2**64), ("reason", "a\0b"), ("no_such", 1)):
        yield post(f"{SHOWN}/rollback", {name: value}, SHAPE, name)
    yield raw(f"{SHOWN}/publications", b"{}", TEXT, "unsupported_media_type", "text/plain")
