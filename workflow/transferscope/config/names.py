"""Valid names of datasets, backbones, channels and public collections."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ChannelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
# In lower case only, so that cards that mean the same collection write the same.
CollectionName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
