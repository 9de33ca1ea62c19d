"""The project: the nearest folder with a home or a settings file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from playhead import project
from playhead.settings import load_settings
from playhead.settings.hints import home_of_parent


@pytest.fixture(autouse=True)
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory `a/b`."""
    for name in [name for name in os.environ if name.startswith("PLAYHEAD_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", ["playhead.toml", ".playhead"])
def test_the_nearest_folder_with_a_home_or_a_settings_file_is_the_project(tmp_path: Path, name: str):
    assert project.find() == Path()
    (tmp_path / name).mkdir()
    assert project.find() == tmp_path
    (tmp_path / "a" / name).mkdir()
    assert project.find() == tmp_path / "a"
    Path(name).mkdir()
    assert project.find() == Path()


def test_a_settings_file_below_hides_the_home_above(tmp_path: Path, below: Path):
    (tmp_path / ".playhead").mkdir()
    Path("playhead.toml").touch()
    assert load_settings().home == Path(".playhead")
    assert home_of_parent(load_settings()) is None


def test_the_home_and_the_settings_of_a_parent_apply_below_it(tmp_path: Path):
    (tmp_path / "playhead.toml").write_text('adapters = ["./steps.py", "package.steps"]\nport = 99')
    settings = load_settings()
    assert settings.home == tmp_path / ".playhead"
    assert settings.port == 99
    assert settings.adapters == (str(tmp_path / "steps.py"), "package.steps")
    assert str(tmp_path / ".playhead") in (home_of_parent(settings) or "")


def test_paths_in_the_settings_of_a_parent_start_at_its_folder(tmp_path: Path):
    (tmp_path / "playhead.toml").write_text('adapters = "./steps.py, more/steps.py"\nhome = "data"')
    settings = load_settings()
    assert settings.home == tmp_path / "data"
    assert settings.adapters == (str(tmp_path / "steps.py"), str(tmp_path / "more/steps.py"))
    assert home_of_parent(settings) is None


def test_a_home_that_is_named_is_not_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".playhead").mkdir()
    assert home_of_parent(load_settings(home="elsewhere")) is None
    monkeypatch.setenv("PLAYHEAD_HOME", "elsewhere")
    assert home_of_parent(load_settings()) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_home_of_another_user_in_a_parent_is_ignored(tmp_path: Path):
    (tmp_path / ".playhead").mkdir()
    (tmp_path / "playhead.toml").touch()
    for name in (".playhead", "playhead.toml"):
        os.chown(tmp_path / name, 12345, 12345)
    assert project.find() == Path()


def test_a_deleted_working_directory_is_the_project(below: Path):
    below.rmdir()
    assert project.find() == Path()
