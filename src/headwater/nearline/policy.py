"""What the nearline operator keeps and how it orders: one frozen settings class, read from TOML."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field

from headwater.config import Settings, parse, read_toml
from headwater.errors import ConfigError
from headwater.nearline.records import MAX_ITEMS

logger = logging.getLogger(__name__)

Truncation = Annotated[int, Field(ge=1, le=MAX_ITEMS)]


class Policy(Settings):
    """Settings of the nearline operator. Defaults are the paper's where it gives one (MNR, section 3)."""

    target: str = "homepage"
    """The scenario that candidates are for. Its own visits are not queued, else it would feed on itself."""

    sources: tuple[str, ...] | None = None
    """The scenarios whose visits are queued; without, all but the target. Glare (Netflix), a baseline of the paper,
    has the target's own log alone: `Policy.glare`."""

    strategy: Literal["score", "fifo", "random"] = "score"
    """How candidates are ordered: by eq. 6; newest visit first, hash-shuffled inside; or hash-shuffled. The other two
    are the paper's ablation (table 3)."""

    truncate: dict[str, Truncation] = Field(
        default_factory=lambda: {
            "mini_detail": 500,
            "post_purchase": 500,
            "main_search": 500,
            "in_shop": 20,
            "photo_search": 20,
        }
    )
    """Items kept of one visit's list, best first, by scenario (eq. 4; the paper's table 1). Given at all, the
    table replaces this one whole."""

    truncate_other: int = Field(default=500, ge=0, le=MAX_ITEMS)
    """Items kept of a visit in a scenario that `truncate` does not name; 0 refuses it as a dead letter."""

    visits: int = Field(default=10, ge=1, le=250)
    """Visits kept for each user and scenario, newest first (eq. 5)."""

    visits_in_all: int = Field(default=100, ge=1, le=250)
    """Visits kept for each user over all scenarios, newest first: bounds the state however many scenario names
    come in. 1..250, so that a time index fits a byte."""

    acted_items: int = Field(default=1_000, ge=1, le=65_000)
    """Acted items remembered for each user, newest first: bounds the state of a user who clicks without end."""

    max_age_seconds: int = Field(default=7 * 86_400, ge=1)
    """Visits and acts older than this, counted from the user's newest record, are gone. 7 days."""

    category_cap: int = Field(default=20, ge=1)
    """Candidates of one category at most; items without a category are not capped."""

    k: int = Field(default=200, ge=1, le=10_000)
    """Candidates of one user."""

    alpha: int = Field(default=50, ge=1, le=100_000)
    """Eq. 6: the larger, the less the rank within a visit counts, and the more its time."""

    beta: int = Field(default=10, ge=1, le=100_000)
    """Eq. 6: the larger, the less the time of a visit counts, and the more the rank within it."""

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a TOML file; raises `ConfigError`, which names a faulty key and the nearest valid one."""
        return parse(cls, read_toml(Path(path)), str(path))

    def glare(self) -> Policy:
        """This policy for the target's own log alone, as the paper's baseline Glare has it."""
        return self.model_copy(update={"sources": (self.target,)})

    def truncation(self, scenario: str) -> int:
        """How many items of a visit in `scenario` are kept; 0 where such visits are refused."""
        return self.truncate.get(scenario, self.truncate_other)

    def is_source(self, scenario: str) -> bool:
        """Whether visits in `scenario` are queued."""
        return scenario != self.target if self.sources is None else scenario in self.sources


class PolicyFile:
    """A policy that is read again when its file has changed; a faulty file is reported, and the old policy stays.

    Parameters
    ----------
    path : Path or str

    Raises
    ------
    ConfigError
        The file is faulty at the start, when there is no old policy.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._seen = self._look()
        self._policy = Policy.load(self._path)
        self.fault = ""
        """What is wrong with the file as it is now; empty where nothing is."""

    def current(self) -> Policy:
        """The policy as of now."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._policy = Policy.load(self._path)
                self.fault = ""
                logger.info("%s was changed and is used from now on", self._path)
            except ConfigError as error:
                self.fault = str(error)
                logger.error("the policy stays as it was: %s", error)
        return self._policy

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
