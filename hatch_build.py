"""Adds the addresses of the project to its metadata, from the repository that builds it."""

from __future__ import annotations

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ProjectUrls(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        # GitHub sets it in each workflow. Elsewhere the address is not known, and the metadata has none.
        if repository := os.environ.get("GITHUB_REPOSITORY"):  # noqa: TID251
            owner, name = repository.split("/")
            home = f"https://github.com/{repository}"
            metadata["urls"] = {
                "Source": home,
                "Documentation": f"https://{owner.lower()}.github.io/{name}/",
                "Changelog": f"{home}/blob/main/CHANGELOG.md",
                "Issues": f"{home}/issues",
                "Security": f"{home}/security/policy",
            }
