"""`/v1/knowledge`: what is known of pairs of users and items, by version, and which versions there are."""

from __future__ import annotations

from typing import Annotated

import msgspec
import numpy as np
from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.params import JSONBody
from msgspec import Meta

from headwater.data.vocabulary import key_of
from headwater.errors import VersionGone
from headwater.knowledge.http import BINARY, packed
from headwater.service.messages import Failure, Id

MAX_ROWS = 4_096

Ids = Annotated[list[Id], Meta(max_length=MAX_ROWS)]


class KnowledgeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/knowledge`: what is known of each user with the item in the same place.

    Without `categories` each item's own is meant; without `version` the served one.
    """

    users: Ids
    items: Ids
    categories: Ids | None = None
    version: Annotated[int, Meta(ge=1)] | None = None


class VersionOut(msgspec.Struct, frozen=True, kw_only=True):
    """One version; `parts` are names and widths, in order."""

    version: int
    is_current: bool
    pins: list[str]
    about: dict


@post("/v1/knowledge", status_code=200, sync_to_thread=False, media_type=BINARY)
def ask(data: JSONBody[KnowledgeRequest], state: State) -> Response[bytes]:
    """Numbers in binary: see `headwater.knowledge.http`."""
    stored = state.live.knowledge.stored(
        _keys(data.users),
        _keys(data.items),
        None if data.categories is None else _keys(data.categories),
        version=data.version,
    )
    return Response(packed(stored), media_type=BINARY)


@get("/v1/knowledge", sync_to_thread=False)
def held(state: State) -> list[VersionOut]:
    """The versions that are there, oldest first."""
    return [
        VersionOut(version=one.version, is_current=one.is_current, pins=list(one.pins), about=one.about)
        for one in state.live.knowledge.held()
    ]


def refuse_version(_: Request, error: VersionGone) -> Response[Failure]:
    """404: there is no such version."""
    return Response(Failure(error=str(error), where="$.version"), status_code=404, media_type="application/json")


def _keys(ids: list[int | str]) -> np.ndarray:
    return np.fromiter((one if type(one) is int else key_of(one) for one in ids), np.int64, len(ids))
