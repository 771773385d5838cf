"""How ratings are cut: each user's by time into 60, 20 and 20%, and by genre into sub-domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from headwater.data import Dataset
from headwater.data.impressions import Impressions
from headwater.data.rated import rated_impressions
from headwater.errors import ConfigError
from headwater.reproduce.knowledge.config import KnowledgeRecipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

BORDERS = (0.6, 0.8)
"""Shares of a user's ratings, in time order, at which the super-domain, and the sub-domains' training, end."""

RULE = (
    "each user's ratings cut 60/20/20 by time (ties keep the order of the file): the first part of all items is the "
    "super-domain, the second part of one genre trains, its third part tests; histories are all likes before"
)


@dataclass(frozen=True, slots=True)
class Cut:
    """Ratings as impressions, and which of the parts each is in.

    Attributes
    ----------
    whole : Impressions
    piece : (n,) int
        0 the super-domain, 1 what trains, 2 what tests.
    membership : dict of str to (items,) bool
        The items of each sub-domain, the largest first.
    """

    whole: Impressions
    piece: NDArray[np.int64]
    membership: dict[str, NDArray[np.bool_]]

    @classmethod
    def of(cls, dataset: Dataset, recipe: KnowledgeRecipe) -> Cut:
        """Cut a data set. Raises `SchemaError` without ratings, `ConfigError` where a sub-domain is not there."""
        whole = rated_impressions(dataset, click=recipe.click, conversion=recipe.conversion)
        piece = pieces(whole.user_codes)
        if recipe.attribute not in whole.item_attributes.column_names:
            raise ConfigError(f"{dataset.name} has no item attribute {recipe.attribute!r} to make sub-domains of")
        values = whole.item_attributes.column(recipe.attribute).to_pylist()
        lists = [value if isinstance(value, list) else [value] for value in values]
        names = sorted({str(name) for some in lists for name in some or () if name})
        members = {name: np.array([name in (some or ()) for some in lists]) for name in names}
        trains = {name: int(member[whole.item_codes[piece == 1]].sum()) for name, member in members.items()}
        chosen = sorted((name for name in names if trains[name] >= recipe.least), key=lambda name: -trains[name])
        if recipe.domains:
            missing = set(recipe.domains) - set(names)
            if missing:
                raise ConfigError(f"{dataset.name} has no {sorted(missing)[0]!r}; it has {', '.join(names)}")
            chosen = list(recipe.domains)
        return cls(whole, piece, {name: members[name] for name in chosen})

    @property
    def rule(self) -> str:
        """How it was cut, in words."""
        return RULE

    def rows(self, *pieces_: int, domain: str | None = None) -> NDArray[np.bool_]:
        """Marks the impressions of some parts, of one sub-domain or of all items."""
        marked = np.isin(self.piece, pieces_)
        return marked if domain is None else marked & self.membership[domain][self.whole.item_codes]

    def part(self, *pieces_: int, domain: str | None = None) -> Impressions:
        """The impressions themselves."""
        return self.whole.select(self.rows(*pieces_, domain=domain))


def pieces(users: NDArray[np.int32]) -> NDArray[np.int64]:
    """Of impressions in time order: in which part of its user's each is."""
    order = np.argsort(users, kind="stable")
    counts = np.bincount(users)
    starts = np.cumsum(counts) - counts
    place = np.empty(len(users), np.int64)
    place[order] = np.arange(len(users)) - np.repeat(starts, counts)
    return np.searchsorted(BORDERS, (place + 0.5) / counts[users])
