"""The live part of the tour: a user's visits, played over HTTP against the two processes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import httpx
import msgspec
from rich.console import Console
from rich.markup import escape

from headwater.data.vocabulary import key_of
from headwater.demo.processes import running
from headwater.home import Home
from headwater.nearline.candidates import decode
from headwater.nearline.stored import CANDIDATES, candidates_key
from headwater.service.messages import Answer, AnsweredItem
from headwater.show import print_answer
from headwater.store.base import Store
from headwater.store.place import open_store

PAGE = 8
"""Items on one page of the played visits."""

STREAM_SECONDS = 10.0
"""How long a visit may take from the rank log to the store before the demo calls it lost."""


@dataclass(slots=True)
class Played:
    """What the live part showed, for the report."""

    answers: list[tuple[str, Answer]] = field(default_factory=list)
    answer_ms: list[float] = field(default_factory=list)
    stream_ms: list[float] = field(default_factory=list)


def play_visits(home: Home, user: int | str, console: Console) -> Played:
    """Homepage; a detail page; a click; homepage again, with what the detail page's ranker left unseen."""
    played = Played()
    store = open_store(home.store)
    try:
        with running(home) as client:
            first = _visit(client, played, console, "the user opens the homepage", user=user)
            chosen = first.items[0]
            opened = f"opens [bold]{escape(chosen.title)}[/bold]"
            detail = _visit(
                client,
                played,
                console,
                f"{opened}: mini_detail ranks {first.ranked} items beside it and shows {PAGE}",
                user=user,
                scenario="mini_detail",
                item=chosen.item,
            )
            _act(client, user, chosen, "click", detail.request_id)
            console.print(f"clicks it; event sent. {_await_stream(store, user, detail.request_id, played)}\n")
            again = _visit(client, played, console, "goes back to the homepage", user=user)
            _explain_change(console, first, again, chosen)
            _act(client, user, again.items[0], "purchase", again.request_id)
            console.print(f"buys [bold]{escape(again.items[0].title)}[/bold]\n")
            _visit(client, played, console, "and once more: what was bought is gone", user=user)
            newcomer = "newcomer" if isinstance(user, str) else 10**12
            _visit(client, played, console, "a newcomer, never seen before", user=newcomer)
    finally:
        store.close()
    return played


def _visit(
    client: httpx.Client, played: Played, console: Console, what: str, *, user: int | str, **fields: object
) -> Answer:
    start = time.perf_counter()
    response = client.post("/v1/candidates", json={"user": user, "k": PAGE, **fields})
    elapsed = (time.perf_counter() - start) * 1000
    response.raise_for_status()
    answer = msgspec.json.decode(response.content, type=Answer)
    played.answers.append((what, answer))
    played.answer_ms.append(elapsed)
    console.print(f"[bold cyan]visit {len(played.answers)}[/bold cyan]: {what}")
    print_answer(console, answer, title=f"{answer.scenario}, answered in {elapsed:.1f} ms")
    return answer


def _act(client: httpx.Client, user: int | str, item: AnsweredItem, behaviour: str, request_id: str) -> None:
    event = {"user": user, "item": item.item, "behaviour": behaviour, "request_id": request_id}
    client.post("/v1/events", json={"events": [event]}).raise_for_status()


def _await_stream(store: Store, user: int | str, request_id: str, played: Played) -> str:
    """Wait until the stream has put the visit's items into the store, and say how long that took."""
    start = time.perf_counter()
    while time.perf_counter() - start < STREAM_SECONDS:
        (stored,) = store.get_many(CANDIDATES, [candidates_key(key_of(user), "mini_detail")])
        if stored is not None and request_id in decode(stored).request_ids:
            elapsed = (time.perf_counter() - start) * 1000
            played.stream_ms.append(elapsed)
            return f"The stream had that visit's ranked list in the store {elapsed:.0f} ms later."
        time.sleep(0.002)
    return f"The stream did not deliver within {STREAM_SECONDS:.0f} s; see stream.log."


def _explain_change(console: Console, before: Answer, after: Answer, clicked: AnsweredItem) -> None:
    old = {item.item for item in before.items}
    fresh = [item for item in after.items if item.item not in old]
    named = sum(any(why.item == clicked.item for why in item.why) for item in after.items)
    nearline = sum(any(why.kind == "nearline" for why in item.why) for item in after.items)
    console.print(
        f"{len(fresh)} of {len(after.items)} items are new since visit 1; {named} name "
        f"[bold]{escape(clicked.title)}[/bold] as their reason; {nearline} were ranked on the detail page and come "
        "back through the stream\n"
    )
