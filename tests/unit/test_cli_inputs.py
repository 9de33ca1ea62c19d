"""The inputs of a run from files and folders."""

from __future__ import annotations

import os
import unicodedata

import pytest

from playhead.cli import inputs
from playhead.cli.session import Usage
from playhead.errors import BadRequest

ROOMY = 1 << 20


def make(folder, *paths: str):
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())


def find(*arguments, max_bytes: int = ROOMY) -> inputs.Inputs:
    return inputs.find([str(argument) for argument in arguments], max_bytes)


def paths_of(found: inputs.Inputs) -> list[str]:
    return [path for path, _ in found.files]


async def contents(found: inputs.Inputs, seen: list[int] | None = None) -> dict[str, bytes]:
    read = inputs.read(found, (seen if seen is not None else []).append)
    return {path: file.read() async for path, file in read}


def test_files_of_a_folder_are_named_relative_to_it_in_byte_order(tmp_path):
    make(tmp_path, "b.html", "a/z.html", "a.md", "a-b", "a/deep/er/x")
    assert paths_of(find(tmp_path)) == ["a-b", "a.md", "a/deep/er/x", "a/z.html", "b.html"]


def test_a_file_is_named_by_its_own_name(tmp_path):
    make(tmp_path, "deep/page.html")
    assert paths_of(find(tmp_path / "deep/page.html")) == ["page.html"]


def test_hidden_entries_and_links_in_a_folder_are_omitted_and_reported(tmp_path):
    make(tmp_path, "page", ".hidden", ".git/config", "sub/.also")
    make(tmp_path.parent, "outside/secret")
    (tmp_path / "link").symlink_to(tmp_path / "page")
    (tmp_path / "folder").symlink_to(tmp_path.parent / "outside", target_is_directory=True)
    os.mkfifo(tmp_path / "pipe")
    found = find(tmp_path)
    assert paths_of(found) == ["page"]
    assert found.left_out == "3 hidden entries and 3 symbolic links or special files"


def test_a_link_or_hidden_file_named_on_the_command_line_is_used(tmp_path):
    make(tmp_path, ".hidden", "page")
    (tmp_path / "link").symlink_to(tmp_path / "page")
    assert paths_of(find(tmp_path / ".hidden", tmp_path / "link")) == [".hidden", "link"]


@pytest.mark.parametrize("given", ["empty", "hidden", "missing"])
def test_a_run_without_files_is_a_usage_error(tmp_path, given):
    (tmp_path / "empty").mkdir()
    make(tmp_path, "hidden/.x")
    with pytest.raises(Usage):
        find(tmp_path / given)


def test_two_files_with_one_path_are_refused_and_both_named(tmp_path):
    make(tmp_path, "one/page", "two/page")
    with pytest.raises(Usage, match=r"one/page and .*two/page"):
        find(tmp_path / "one", tmp_path / "two")


def test_an_invalid_path_is_reported_before_anything_is_stored(tmp_path):
    make(tmp_path, "fine", "bad\\name")
    with pytest.raises(BadRequest, match="backslash") as caught:
        find(tmp_path)
    assert caught.value.code == "invalid_path"


def test_a_path_too_long_for_a_whole_key_is_reported(tmp_path):
    make(tmp_path, "/".join(["d" * 150] * 5 + ["e" * 103]))
    with pytest.raises(BadRequest, match="901 bytes"):
        find(tmp_path)


def test_names_are_normalized_to_nfc(tmp_path):
    decomposed = unicodedata.normalize("NFD", "café.html")
    make(tmp_path, decomposed)
    assert paths_of(find(tmp_path)) == [unicodedata.normalize("NFC", "café.html")]


def test_a_file_above_the_limit_is_reported_without_reading_it(tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(Usage, match="PLAYHEAD_MAX_OBJECT_BYTES"):
        find(tmp_path)


async def test_all_files_are_read_in_order_and_counted(tmp_path):
    names = [f"{n:04}" for n in range(150)]
    make(tmp_path, *names)
    seen: list[int] = []
    assert await contents(find(tmp_path), seen) == {name: name.encode() for name in names}
    assert seen == [64, 128, 150]


async def test_a_file_that_changed_a_moment_ago_has_no_stamp(tmp_path):
    make(tmp_path, "new", "old")
    os.utime(tmp_path / "old", ns=(10**18, 10**18))
    files = {path: file async for path, file in inputs.read(find(tmp_path), lambda done: None)}
    assert files["new"].stamp is None
    assert files["old"].stamp == f"{10**18} {(tmp_path / 'old').stat().st_ino}"


async def test_a_file_that_disappears_during_the_upload_is_named(tmp_path):
    make(tmp_path, "page")
    found = find(tmp_path)
    (tmp_path / "page").unlink()
    with pytest.raises(Usage, match=r"cannot read .*page: No such file"):
        await contents(found)
