"""How ratings are cut: each user's by time into 60, 20 and 20%, and by genre into sub-domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from headwater.data import Dataset
from headwater.data.impressions import Impressions
from headwater.data.purchased import purchased_impressions
from headwater.data.rated import rated_impressions
from headwater.data.schema import Behaviour
from headwater.errors import ConfigError
from headwater.reproduce.knowledge.config import History, KnowledgeRecipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

BORDERS = (0.6, 0.8, 1.0)
"""Shares of a user's ratings, in time order, at which the super-domain, the sub-domains' training, and the test end."""

VALIDATION = (0.6, 0.75, 0.8)
"""The same while settings are chosen: the ratings that test are not there."""

RULES = {
    "rated": (
        "each user's ratings cut 60/20/20 by time (ties keep the order of the file): the first part of all items is "
        "the super-domain, the second part of one genre trains, its third part tests; histories are all likes before"
    ),
    "purchased": (
        "each user's purchases and the items sampled for each cut 60/20/20 by time: the first part of all items is the "
        "super-domain, the second part of one sub-domain trains, its third part tests; histories are all purchases "
        "before; negatives: {sampled}"
    ),
}
"""How impressions are made and cut, by `KnowledgeRecipe.impressions`."""

OWN = {"all": "", "own": ", of which the models of a sub-domain read its clicks alone"}
"""What else is to be said, by `KnowledgeRecipe.history`."""


def impressions_of(dataset: Dataset, recipe: KnowledgeRecipe) -> Impressions:
    """A data set's impressions, as the recipe says. Raises `SchemaError` where the data set has none of that kind."""
    if recipe.impressions == "purchased":
        return purchased_impressions(dataset, negatives=recipe.negatives, within=recipe.attribute)
    return rated_impressions(dataset, click=recipe.click, conversion=recipe.conversion)


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
    period : int
        Least impressions of a day of any part; see `KnowledgeRecipe.period`.
    history : "all" or "own"
        See `KnowledgeRecipe.history`.
    """

    whole: Impressions
    piece: NDArray[np.int64]
    membership: dict[str, NDArray[np.bool_]]
    period: int = 1
    history: History = "all"

    @classmethod
    def of(cls, dataset: Dataset, recipe: KnowledgeRecipe, borders: Sequence[float] = BORDERS) -> Cut:
        """Cut a data set. Raises `SchemaError` as `impressions_of`, `ConfigError` where a sub-domain is not there."""
        whole = impressions_of(dataset, recipe)
        piece = pieces(whole.user_codes, borders)
        whole, piece = whole.select(piece < len(borders)), piece[piece < len(borders)]
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
        return cls(whole, piece, {name: members[name] for name in chosen}, recipe.period, recipe.history)

    @property
    def rule(self) -> str:
        """How it was cut, in words."""
        rule = RULES["purchased"].format(sampled=self.whole.sampled) if self.whole.sampled else RULES["rated"]
        return rule + OWN[self.history]

    def rows(self, *pieces_: int, domain: str | None = None) -> NDArray[np.bool_]:
        """Marks the impressions of some parts, of one sub-domain or of all items."""
        marked = np.isin(self.piece, pieces_)
        return marked if domain is None else marked & self.membership[domain][self.whole.item_codes]

    def part(self, *pieces_: int, domain: str | None = None) -> Impressions:
        """The impressions themselves; those of a sub-domain as its models read them."""
        found = self.select(self.rows(*pieces_, domain=domain))
        return found if domain is None else self.read_by(domain, found)

    def read_by(self, domain: str, impressions: Impressions) -> Impressions:
        """Impressions with the histories that the models of a sub-domain read."""
        if self.history == "all":
            return impressions
        whole = self.whole
        rows = np.flatnonzero(self.rows(*range(3), domain=domain) & (whole.labels["click"] == 1))
        rows = rows[np.argsort(whole.user_codes[rows], kind="stable")]
        counts = np.bincount(whole.user_codes[rows], minlength=len(whole.users))
        return replace(
            impressions,
            history_offsets=np.append(0, np.cumsum(counts)).astype(np.int64),
            history_items=whole.item_codes[rows],
            history_times=whole.times[rows],
            history_behaviours=np.full(len(rows), int(Behaviour.CLICK), np.int8),
        )

    def read_by_all(self, impressions: Impressions) -> Impressions:
        """Impressions with the histories that the super-domain's models read."""
        if impressions.history_items is self.whole.history_items:
            return impressions
        names = ("history_offsets", "history_items", "history_times", "history_behaviours")
        return replace(impressions, **{name: getattr(self.whole, name) for name in names})

    def select(self, rows: NDArray[np.bool_]) -> Impressions:
        """The marked impressions, in days of at least `period`."""
        found = self.whole.select(rows)
        return replace(found, days=periods(found.days, self.period))


def periods(days: NDArray[np.int32], least: int) -> NDArray[np.int32]:
    """Ascending days, of which short ones are joined with the next until `least` impressions are together.

    A period has the number of its first day; what is left at the end joins the last one.
    """
    if least <= 1 or not len(days):
        return days
    ends = np.append(np.flatnonzero(np.diff(days)) + 1, len(days))
    found, begin = days.copy(), 0
    for end in ends:
        if (end - begin >= least and len(days) - end >= least) or end == len(days):
            found[begin:end] = days[begin]
            begin = end
    return found


def pieces(users: NDArray[np.int32], borders: Sequence[float] = BORDERS) -> NDArray[np.int64]:
    """Of impressions in time order: in which part of its user's each is, by the shares at which parts end."""
    order = np.argsort(users, kind="stable")
    counts = np.bincount(users)
    starts = np.cumsum(counts) - counts
    place = np.empty(len(users), np.int64)
    place[order] = np.arange(len(users)) - np.repeat(starts, counts)
    return np.searchsorted(borders, (place + 0.5) / counts[users])
