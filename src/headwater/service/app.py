"""The HTTP service: `/v1/candidates`, `/v1/events`, `/v1/knowledge`, `/healthz`."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import numpy as np
from litestar import Litestar, Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException, NotAuthorizedException, PermissionDeniedException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.params import JSONBody

import headwater
from headwater.data.schema import BEHAVIOURS, Behaviour
from headwater.data.vocabulary import UNKNOWN, key_of
from headwater.errors import ConfigError, SchemaError, StoreError, UnknownItem, VersionGone
from headwater.home import Home
from headwater.nearline.records import MAX_AHEAD, UserEvent
from headwater.network import TOKEN_VARIABLE, is_bearer, is_loopback, require_guard
from headwater.service import knowledge
from headwater.service.live import Live
from headwater.service.messages import (
    Answer,
    CandidatesRequest,
    EventIn,
    EventsAnswer,
    EventsRequest,
    Failure,
    Health,
)

logger = logging.getLogger(__name__)

JSON = "application/json"

MAX_BODY = 1_000_000
"""Bytes of one request body; larger ones are refused with 413."""

HOME_VARIABLE = "HEADWATER_HOME"
STORE_VARIABLE = "HEADWATER_STORE"


@post("/v1/candidates", status_code=200, sync_to_thread=False)
def candidates(data: JSONBody[CandidatesRequest], state: State) -> Answer:
    """Up to k candidates for a user, best first, each with the reasons why it is there."""
    return state.live.pipeline.answer(data)


@post("/v1/events", status_code=202, sync_to_thread=False)
def events(data: JSONBody[EventsRequest], state: State) -> EventsAnswer:
    """Take what users did: their next answer rests on it, and the stream reads it."""
    live: Live = state.live
    now = int(time.time())
    records = [_event_record(at, event, now) for at, event in enumerate(data.events)]
    interactions = [record for record in records if record.is_act]
    live.pipeline.profile.append_many(
        users=np.array([record.user for record in interactions], np.int64),
        items=np.array([record.item for record in interactions], np.int64),
        times=np.array([record.timestamp for record in interactions], np.int64),
        behaviours=np.array([Behaviour[record.behaviour.upper()] for record in interactions], np.int8),
    )
    live.log.append_many(records)
    codes = live.pipeline.release.items.codes_of_keys(np.array([record.item for record in records], np.int64))
    return EventsAnswer(accepted=len(records), unknown_items=int((codes == UNKNOWN).sum()))


def _event_record(at: int, event: EventIn, now: int) -> UserEvent:
    if event.time is not None and event.time > now + MAX_AHEAD:
        raise SchemaError(f"$.events[{at}].time: {event.time} lies {event.time - now} s ahead; give Unix seconds")
    if event.behaviour not in BEHAVIOURS:
        near = get_close_matches(event.behaviour, BEHAVIOURS, 1, 0.0)[0]
        raise SchemaError(
            f"$.events[{at}].behaviour: {event.behaviour!r} is none of {', '.join(BEHAVIOURS)}; did you mean {near!r}?"
        )
    return UserEvent(
        user=key_of(event.user),
        item=key_of(event.item),
        behaviour=cast("Any", event.behaviour),
        timestamp=now if event.time is None else event.time,
        scenario=event.scenario,
        request_id=event.request_id,
    )


@get("/healthz", sync_to_thread=False)
def healthz(state: State) -> Health:
    """Which release is being served."""
    live: Live = state.live
    pipeline = live.pipeline
    release = pipeline.release
    return Health(
        status="ok",
        release=release.id,
        items=len(release.items),
        unknown_triggers=pipeline.unknown_triggers,
        refused=live.refused,
    )


# -- refusals


def _failure(status: int, error: str, where: str | None = None) -> Response[Failure]:
    return Response(Failure(error=error, where=where), status_code=status, media_type="application/json")


def _refuse_validation(_: Request[Any, Any, Any], error: ValidationException) -> Response[Failure]:
    details = error.extra if isinstance(error.extra, list) else []
    first = details[0] if details and isinstance(details[0], dict) else {}
    key = first.get("key")
    return _failure(400, str(first.get("message") or error.detail), f"$.{key}" if key else None)


def _refuse_http(_: Request[Any, Any, Any], error: HTTPException) -> Response[Failure]:
    return _failure(error.status_code, error.detail)


def _refuse_schema(_: Request[Any, Any, Any], error: SchemaError) -> Response[Failure]:
    where, colon, message = str(error).partition(": ")
    return _failure(400, message, where) if colon and where.startswith("$") else _failure(400, str(error))


def _refuse_unknown(_: Request[Any, Any, Any], error: UnknownItem) -> Response[Failure]:
    return _failure(404, str(error), "$.item")


def _refuse_config(_: Request[Any, Any, Any], error: ConfigError) -> Response[Failure]:
    return _failure(400, str(error))


def _refuse_store(_: Request[Any, Any, Any], error: StoreError) -> Response[Failure]:
    logger.error("%s", error)
    return _failure(503, "the store cannot be used now; nothing of the request was lost or half applied, try again")


# -- putting it together


def create_app(home: Home, token: str | None = None) -> Litestar:
    """The application over the current release of `home`.

    With `token`, every path but `/healthz` demands `Authorization: Bearer <token>`.
    """

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        live = Live(home)
        app.state.live = live
        live.start()
        try:
            yield
        finally:
            live.close()

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        headers = connection.headers
        if token:
            given = headers.get("authorization", "")
            is_open = connection.scope["path"] == "/healthz"
            if not is_open and not is_bearer(given, token):
                raise NotAuthorizedException("this service demands 'Authorization: Bearer <token>'")
        elif not is_loopback(_host_name(headers.get("host", ""))):
            # A web page that renames itself to a loopback address (DNS rebinding) must not read histories.
            raise PermissionDeniedException("without a token this service answers to loopback names only")
        if connection.scope.get("method") == "POST" and headers.get("content-type", "").partition(";")[0] != JSON:
            # Any web page may send a form or plain text here unasked; JSON it may not.
            raise HTTPException(f"send {JSON}", status_code=415)

    return Litestar(
        route_handlers=[candidates, events, knowledge.ask, knowledge.held, healthz],
        lifespan=[lifespan],
        guards=[guard],
        request_max_body_size=MAX_BODY,
        exception_handlers={
            ValidationException: _refuse_validation,
            SchemaError: _refuse_schema,
            UnknownItem: _refuse_unknown,
            VersionGone: knowledge.refuse_version,
            ConfigError: _refuse_config,
            StoreError: _refuse_store,
            HTTPException: _refuse_http,
        },
        openapi_config=OpenAPIConfig(title="Headwater", version=headwater.__version__),
        debug=False,
    )


def create() -> Litestar:
    """What each worker process runs; its settings come from the environment of `serve`."""
    home = Home(Path(os.environ[HOME_VARIABLE]), os.environ.get(STORE_VARIABLE) or None)
    return create_app(home, os.environ.get(TOKEN_VARIABLE) or None)


def serve(home: Home, *, host: str = "127.0.0.1", port: int = 8080, workers: int = 1, token: str | None = None) -> None:
    """Serve until interrupted. Loopback only, unless a token guards any other address.

    Raises
    ------
    ConfigError
        The address is not loopback and no token is given.
    ReleaseError
        No release is promoted.
    """
    from granian import Granian
    from granian.constants import Interfaces

    from headwater import release as releases

    require_guard(host, token)
    releases.current(home.releases)
    os.environ[HOME_VARIABLE] = str(home.root.absolute())
    os.environ[STORE_VARIABLE] = home.store_place or ""
    os.environ[TOKEN_VARIABLE] = token or ""
    Granian(
        "headwater.service.app:create",
        factory=True,
        address=host,
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
    ).serve()


def _host_name(header: str) -> str:
    """The name in a Host header, without port and brackets."""
    name, bracket, _ = header.removeprefix("[").partition("]")
    return name if bracket else header.partition(":")[0]
