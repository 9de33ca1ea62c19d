"""Query parameters about what has made results."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import StringConstraints

from playhead.api.schemas.derived import limit_of
from playhead.limits import Meets
from playhead.model import CodeCondition
from playhead.reading.affecting import affecting

_MOST: Final = 200
MadeBy = Annotated[str, StringConstraints(max_length=_MOST), limit_of(Meets(affecting), str)]
AdapterVersion = Annotated[str, StringConstraints(max_length=_MOST), limit_of(Meets(CodeCondition.at), str)]
WorkerId = Annotated[str, StringConstraints(min_length=1, max_length=_MOST)]
