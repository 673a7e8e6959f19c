"""Valid names of datasets, backbones and channels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ChannelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
