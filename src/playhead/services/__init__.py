"""The use cases. Each knows ports, none knows another; what HTTP, CLI and web call is gathered here."""

from __future__ import annotations

from dataclasses import dataclass

from playhead.services.browse import BrowseService
from playhead.services.configs import ConfigService
from playhead.services.recover import RecoverService
from playhead.services.replay import ReplayService
from playhead.services.submit import SubmitService


@dataclass(frozen=True, slots=True)
class Services:
    """What an entry point may ask for."""

    configs: ConfigService
    submit: SubmitService
    replay: ReplayService
    browse: BrowseService
    recover: RecoverService
