"""What the service is asked and answers over HTTP. Unknown fields are refused, by name."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from headwater.data.schema import LATEST_TIME

Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[str, Meta(min_length=1, max_length=512)]
Scenario = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,63}$(?!\\n)")]
Time = Annotated[int, Meta(ge=0, le=LATEST_TIME)]

MAX_K = 1000
MAX_EVENTS = 1000


class CandidatesRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/candidates`: k items for a user in a scenario.

    `item` is what the user is looking at (a `mini_detail` page, say); `exclude` is never returned.
    """

    user: Id
    scenario: Scenario = "homepage"
    k: Annotated[int, Meta(ge=1, le=MAX_K)] = 20
    item: Id | None = None
    exclude: Annotated[list[Id], Meta(max_length=10_000)] = []


class Why(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One reason. `kind` is `profile` (an item of the user's history), `context` (the item on view),
    `nearline` (ranked on an earlier visit, `age_seconds` before), `direct` (what is known of the user, over no item of
    the history; with a share of 1 there is no such item), `cluster` (the user is likely, by `chance`, to want something
    of this cluster), or `popular`; `text` says it in a sentence."""

    kind: str
    channel: str
    text: str
    share: float
    item: Id | None = None
    title: str | None = None
    scenario: str | None = None
    visit: str | None = None
    rank: int | None = None
    age_seconds: int | None = None
    cluster: str | None = None
    chance: float | None = None


class AnsweredItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item of the answer, in its place, with every channel that retrieved it and why."""

    item: Id
    title: str
    category: str
    score: float
    channels: list[str]
    why: list[Why]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: at most k items, best first. `ranked` counts what was ranked and logged, `history` the
    events of the user that the answer rests on (0: a newcomer, who gets what is popular)."""

    request_id: str
    release: str
    scenario: str
    history: int
    ranked: int
    items: list[AnsweredItem]


class EventIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a user did; `time` is Unix seconds (now by default), `request_id` that of the answer acted on."""

    user: Id
    item: Id
    behaviour: str = "click"
    time: Time | None = None
    scenario: Scenario | None = None
    request_id: Annotated[str, Meta(min_length=1, max_length=64)] | None = None


class EventsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`POST /v1/events`: accepted whole or refused whole; sending one twice changes nothing."""

    events: Annotated[list[EventIn], Meta(min_length=1, max_length=MAX_EVENTS)]


class EventsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many events were taken, and how many of them name items that the current release does not know
    (kept all the same: a later release may)."""

    accepted: int
    unknown_items: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /healthz`. `refused` says why a newer promoted release is not being served, if one is not;
    `unknown_triggers` counts, since this release is served, events of histories that led nowhere because the release
    or one of its channels does not know the item."""

    status: str
    release: str
    items: int
    unknown_triggers: int = 0
    refused: str | None = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every refusal: what is wrong, and where."""

    error: str
    where: str | None = None
