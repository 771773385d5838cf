"""Forgetting a user in everything that is online: profile, nearline state and candidates, dead letters."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from headwater.errors import ArtefactError, TornValue
from headwater.nearline.deadletter import NAMESPACE, DeadLetter
from headwater.nearline.local import forget as forget_nearline
from headwater.nearline.lookup import look_up
from headwater.profile.history import Profile
from headwater.store.base import Store

_USER = re.compile(rb'"user"\s*:\s*(-?\d+)')


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was removed of a user.

    Attributes
    ----------
    events : int
        Of the profile.
    visits, acts : int
        Of the nearline state: queued lists, and items that were acted on.
    candidates : int
        Over all scenarios.
    dead_letters : int
        Refused records that named the user.
    is_unreadable : bool
        Something was torn and went uncounted.
    """

    events: int
    visits: int
    acts: int
    candidates: int
    dead_letters: int
    is_unreadable: bool = False

    @property
    def is_nothing(self) -> bool:
        """Whether nobody knew the user."""
        counted = self.events + self.visits + self.acts + self.candidates + self.dead_letters
        return not counted and not self.is_unreadable


def forget_user(store: Store, user_key: int, *, at: int) -> Forgotten:
    """Remove what the store knows of a user up to time `at`, Unix seconds, and take none of it in again.

    What stays is the key with that time, so that neither an event sent again nor a log that is replayed brings the user
    back. Safe beside a running service and running streams; calling it again completes a call that was cut short.

    A dead letter that does not say whose it is stays until it expires, 30 days after it came. What is no part of the
    store is not touched: log files, data sets, and releases that were trained with the user.

    Raises `StoreError` where the store is away or full.
    """
    profile = Profile(store)
    visits = acts = candidates = 0
    is_unreadable = False
    events = int((profile.history([user_key])[0].times <= at).sum())
    try:
        known = look_up(store, user_key)
    except (TornValue, ArtefactError):
        known, is_unreadable = None, True
    if known is not None:
        visits = sum(queued.timestamp <= at for queue in known.queues.values() for queued in queue)
        acts = int((known.acted_times <= at).sum())
        candidates = sum(map(len, known.candidates.values()))
    profile.forget(user_key, at=at)
    forget_nearline(store, user_key, at=at)
    return Forgotten(events, visits, acts, candidates, _forget_letters(store, user_key), is_unreadable)


def _forget_letters(store: Store, user_key: int) -> int:
    # A refused record may be no JSON, or cut short: the user is looked for in its bytes.
    letters = [(key, msgspec.json.decode(value, type=DeadLetter)) for key, value in store.scan(NAMESPACE)]
    named = [key for key, letter in letters if str(user_key).encode() in _USER.findall(letter.raw)]
    return store.delete_many(NAMESPACE, named)
