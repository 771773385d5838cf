"""What a job is made of, as its submitter says it and its functions read it; and what of that it may not change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import xxhash
from pydantic import Field

from headwater.config import Settings
from headwater.nearline.policy import Policy
from headwater.nearline.state import VERSION
from headwater.store.place import without_secrets


class JobSettings(Settings):
    """Settings of a job on Flink."""

    name: str = "headwater-stream"
    """Of the job: one name is one stream, with its state, its savepoints and its position."""

    log: str
    """The rank log, as `open_source` reads it; every TaskManager must reach it there."""

    store: str
    """The store, as `open_store` reads it; every TaskManager must reach it there."""

    checkpoints: str
    """Folder or URL of Flink's checkpoints and savepoints, which every process of Flink must reach."""

    policy: Policy = Field(default_factory=Policy)
    """Of the operator."""

    parallelism: Annotated[int, Field(ge=1, le=128)] = 1
    """Slots that the job takes; users are spread over them."""

    readers: Annotated[int, Field(ge=1, le=128)] = 1
    """Consumers that share the log: files by their names, partitions by their numbers. Fixed for a job's life."""

    batch: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Records of one poll at most."""

    checkpoint_seconds: Annotated[float, Field(ge=0.1)] = 1.0
    """Between two checkpoints."""

    flush_milliseconds: Annotated[int, Field(ge=1, le=10_000)] = 50
    """How long a record's writes wait for those of others."""

    poll_milliseconds: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Between two polls of a log without news."""

    @property
    def checkpoints_url(self) -> str:
        """`checkpoints` as Flink takes it."""
        return self.checkpoints if "://" in self.checkpoints else Path(self.checkpoints).absolute().as_uri()

    def identity(self) -> Identity:
        """What two submissions of one job must have in common."""
        policy = xxhash.xxh3_64_hexdigest(self.policy.model_dump_json().encode())
        return Identity(
            policy=policy,
            state_version=VERSION,
            readers=self.readers,
            log=without_secrets(self.log),
            checkpoints=self.checkpoints_url,
        )


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's state was made with, kept in the store beside what came of it.

    Attributes
    ----------
    policy : str
        Hash of the policy.
    state_version : int
        Of the bytes of a state.
    readers : int
    log : str
        Without secrets.
    checkpoints : str
    """

    policy: str
    state_version: int
    readers: int
    log: str
    checkpoints: str
