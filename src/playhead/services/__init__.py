"""The use cases. Each knows ports, none knows another; what HTTP, CLI and web call is gathered here."""

from __future__ import annotations

from dataclasses import dataclass

from playhead.services.browse import BrowseService
from playhead.services.configs import ConfigService
from playhead.services.doctor import DoctorService
from playhead.services.metrics import MetricsService
from playhead.services.recover import RecoverService
from playhead.services.replay import ReplayService
from playhead.services.search import SearchService
from playhead.services.submit import SubmitService
from playhead.services.take import TakeService
from playhead.services.watch import WatchService


@dataclass(frozen=True, slots=True)
class Services:
    """What an entry point may ask for."""

    configs: ConfigService
    submit: SubmitService
    replay: ReplayService
    browse: BrowseService
    recover: RecoverService
    take: TakeService
    search: SearchService
    doctor: DoctorService
    watch: WatchService
    metrics: MetricsService
