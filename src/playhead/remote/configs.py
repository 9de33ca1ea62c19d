"""Configs over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from playhead.model import ConfigVersion, Diagnostic
from playhead.reading.codecheck import Warn, no_warning
from playhead.remote.client import HARMLESS, segment
from playhead.remote.derived import Remote, derived
from playhead.services.configs import ConfigService
from playhead.services.pipelines import PipelineService

_YAML: Final = "application/yaml"


@dataclass(frozen=True, slots=True)
class _Validated:
    valid: bool
    diagnostics: list[Diagnostic]


class RemoteConfigs(Remote):
    """Remote `ConfigService`."""

    async def apply(self, source: bytes | str, warn: Warn = no_warning) -> tuple[ConfigVersion, bool]:
        applied, response = await self._client.post_for_response(
            "configs", ConfigVersion, lost=HARMLESS, content=_raw(source), content_type=_YAML, warn=warn
        )
        return applied, response.status_code == 201

    async def validate(self, source: bytes | str) -> list[Diagnostic]:
        answer = await self._client.post(
            "configs/validate", _Validated, lost=HARMLESS, content=_raw(source), content_type=_YAML
        )
        return answer.diagnostics

    async def get(self, name: str, version: int | None = None) -> ConfigVersion:
        path = f"configs/{segment(name)}" + (f"/versions/{version}" if version else "")
        return await self._client.get(path, ConfigVersion)

    list = derived(ConfigService.list, "configs")
    versions = derived(ConfigService.versions, "configs/{name}/versions")

    async def set_active(self, name: str, active: bool) -> ConfigVersion:
        path = f"configs/{segment(name)}/{'activate' if active else 'deactivate'}"
        return await self._client.post(path, ConfigVersion, lost=HARMLESS)


class RemotePipelines(Remote):
    """Remote `PipelineService`."""

    of_config = derived(PipelineService.of_config, "configs/{name}/dag")
    of_execution = derived(PipelineService.of_execution, "executions/{execution}/dag")


def _raw(source: bytes | str) -> bytes:
    return source if isinstance(source, bytes) else source.encode()
