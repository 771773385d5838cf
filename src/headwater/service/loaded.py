"""A release as a service holds it: its ranker told by the home's knowledge center, where it reads knowledge."""

from __future__ import annotations

import os

from headwater import release as releases
from headwater.home import Home
from headwater.knowledge.center import Center
from headwater.knowledge.served import ServedPlugged
from headwater.release import Release

KNOWLEDGE_VARIABLE = "HEADWATER_KNOWLEDGE"
"""The URL of a server that holds what is known of users, where a center's own files do not."""


def open_center(home: Home) -> Center:
    """The center of a home."""
    return Center(home.knowledge, os.environ.get(KNOWLEDGE_VARIABLE) or None)


def load_release(home: Home, release: str, center: Center) -> Release:
    """A release, ready to serve.

    Raises as `headwater.release.load` does, and `LineageError` where the center has not the version that the ranker was
    trained with.
    """
    loaded = releases.load(home.releases / release)
    if isinstance(loaded.ranker, ServedPlugged):
        loaded.ranker.connect(center)
    return loaded
