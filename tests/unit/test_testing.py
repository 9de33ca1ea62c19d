"""Running one adapter alone, as its author's tests do."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from pydantic import BaseModel

from playhead import Context, Item, Reject, adapter
from playhead.errors import MessageError
from playhead.ids import uuid7
from playhead.testing import run_adapter


class Settings(BaseModel):
    size: int = 3


@adapter("step", produces="text/plain")
def step(item: Item, config: Settings, ctx: Context) -> list[str]:
    return [f"{config.size} {ctx.attempt} {ctx.replay} {os.path.isdir(ctx.data_dir)}"]


PAGE = Item("page.html", b"<p>", attributes={"title": "A page"})


def test_outputs_are_returned_as_items_with_their_final_paths():
    assert run_adapter(step, PAGE) == [
        Item("page/0001.txt", b"3 1 None True", "text/plain", {"title": "A page"})
    ]


def test_config_may_be_a_mapping_or_the_model_itself():
    assert run_adapter(step, PAGE, {"size": 5})[0].text.startswith("5 ")
    assert run_adapter(step, PAGE, Settings(size=6))[0].text.startswith("6 ")


def test_attempt_and_replay_can_be_set_by_a_test():
    batch = uuid7()
    assert run_adapter(step, PAGE, attempt=4, replay=batch)[0].text == f"3 4 {batch} True"


async def test_async_adapters_run_even_where_a_loop_is_running():
    @adapter("later")
    async def later(item: Item) -> AsyncIterator[str]:
        yield item.text

    assert [item.path for item in run_adapter(later, PAGE)] == ["page/0001.html"]


def test_class_adapters_are_created_and_closed_and_their_folder_can_be_kept(tmp_path):
    @adapter("keeper")
    class Keeper:
        closed = False

        def __call__(self, item: Item, ctx: Context) -> None:
            with open(os.path.join(ctx.data_dir, "kept"), "wb") as file:
                file.write(item.data)

        def close(self) -> None:
            Keeper.closed = True

    assert run_adapter(Keeper, PAGE, data_dir=str(tmp_path)) == []
    assert (tmp_path / "kept").read_bytes() == b"<p>"
    assert Keeper.closed


def test_errors_are_raised_as_in_a_worker():
    @adapter("no")
    def no(item: Item) -> None:
        raise Reject("never")

    @adapter("bad")
    def bad(item: Item) -> int:
        return 1

    with pytest.raises(Reject, match="never"):
        run_adapter(no, PAGE)
    with pytest.raises(MessageError, match="returned int"):
        run_adapter(bad, PAGE)


@pytest.mark.parametrize("config", [{"size": "x"}, {"sise": 1}])
def test_an_invalid_config_is_a_value_error(config):
    with pytest.raises(ValueError, match=r"si[sz]e"):
        run_adapter(step, PAGE, config)


def test_an_object_that_is_not_an_adapter_is_named():
    with pytest.raises(TypeError, match=r"decorate it with @adapter"):
        run_adapter(UUID, PAGE)
