"""All that the store knows of one user's nearline state, to look at, and to say what forgetting will remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.nearline.candidates import NearlineCandidates, decode
from headwater.nearline.state import NEVER
from headwater.nearline.state import decode as decode_state
from headwater.nearline.stored import CANDIDATES, STATES, VISITS, candidates_key, visit_key
from headwater.store.base import Store, key_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class QueuedList:
    """A visit in a queue.

    Attributes
    ----------
    request_id : str
    timestamp : int
    items : int or None
        How many are kept of its list; None where the list is not in the store, which the stream logs when it finds out.
    """

    request_id: str
    timestamp: int
    items: int | None


@dataclass(frozen=True, slots=True)
class KnownUser:
    """What is stored of a user.

    Attributes
    ----------
    newest, forgotten_at : int or None
        Unix seconds: of the newest record; up to when records are not taken in.
    acted_items, acted_times : (n,) int64
        What was clicked, carted or bought, by item key.
    queues : dict of scenario to list of QueuedList
        Newest visit first.
    candidates : dict of scenario to NearlineCandidates
        As they are stored. Of a scenario whose candidates have expired there are none.
    """

    newest: int | None
    forgotten_at: int | None
    acted_items: NDArray[np.int64]
    acted_times: NDArray[np.int64]
    queues: dict[str, list[QueuedList]]
    candidates: dict[str, NearlineCandidates]


def look_up(store: Store, user_key: int, scenarios: Sequence[str] | None = None) -> KnownUser | None:
    """What the store knows of a user, of some scenarios or all; None where it knows nothing, not even a forgetting.

    Raises `TornValue` or `ArtefactError` where something of it cannot be read.
    """
    key = key_bytes(user_key)
    (raw,) = store.get_many(STATES, [key])
    if raw is None:
        return None
    state = decode_state(raw)
    names = [name for name in sorted(state.queues) if scenarios is None or name in scenarios]
    places = [(name, visit) for name in names for visit in state.queues[name]]
    contents = store.get_many(VISITS, [visit_key(user_key, name, visit.request_id) for name, visit in places])
    queues: dict[str, list[QueuedList]] = {name: [] for name in names}
    for (name, visit), content in zip(places, contents, strict=True):
        content = content or visit.content  # a state of version 1 has it with it
        items = int.from_bytes(content[:2], "little") if content else None  # see `kernels`
        queues[name].append(QueuedList(visit.request_id, visit.timestamp, items))
    found = store.get_many(CANDIDATES, [candidates_key(user_key, name) for name in names])
    return KnownUser(
        newest=None if state.newest == NEVER else state.newest,
        forgotten_at=None if state.forgotten_at == NEVER else state.forgotten_at,
        acted_items=state.acted_items,
        acted_times=state.acted_times,
        queues=queues,
        candidates={name: decode(value) for name, value in zip(names, found, strict=True) if value is not None},
    )
