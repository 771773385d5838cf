"""Rated items as impressions: what was rated was seen, and a high rating is the click."""

from __future__ import annotations

import numpy as np

from headwater.data.dataset import Dataset
from headwater.data.impressions import TASKS, Impressions
from headwater.data.levels import CLOCK, attribute_levels, clock_context
from headwater.errors import SchemaError


def rated_impressions(
    dataset: Dataset, *, click: float = 4.0, conversion: float | None = None, utc_offset: int = 0
) -> Impressions:
    """Every rating as an impression, in time order; the history is the user's earlier ratings that are clicks.

    This is the click-through benchmark of MovieLens in the literature of DIN (Zhou et al., 2018). It is no log of a
    ranking: users chose what they rated, so its click rate is high (57% in MovieLens 1M) and it has no position.

    Parameters
    ----------
    dataset : Dataset
        With ratings and times in seconds.
    click : float
        A rating that is at least this is a click.
    conversion : float, optional
        A rating that is at least this is a conversion too; no such label without.
    utc_offset : int
        As in `Impressions.of_columns`; hour and weekday, which are the context, follow it too.

    Raises
    ------
    SchemaError
        The data set has no ratings or no times, a rating is missing, or `conversion` is below `click`.
    """
    if dataset.event_ratings is None or dataset.time_unit != "seconds":
        raise SchemaError(f"{dataset.name} has no ratings with times, so it cannot be read as rated impressions")
    if not np.isfinite(dataset.event_ratings).all():
        row = int((~np.isfinite(dataset.event_ratings)).argmax())
        raise SchemaError(f"{dataset.name}: event {row} has no rating; an impression needs one to be labelled by")
    if conversion is not None and conversion < click:
        raise SchemaError(f"a conversion is a click too: its least rating {conversion} is below the click's {click}")
    is_click = dataset.event_ratings >= click
    labels = {TASKS[0]: is_click.astype(np.int8)}
    if conversion is not None:
        labels["conversion"] = (dataset.event_ratings >= conversion).astype(np.int8)
    sub_domains, names = None, ()
    if "category" in dataset.item_attributes.column_names:
        codes, names = attribute_levels(dataset.item_attributes, "category")
        sub_domains = codes[dataset.event_items]
    return Impressions.of_columns(
        f"{dataset.name} (click = rating >= {click:g})",
        dataset.users,
        dataset.items,
        user_codes=dataset.event_users,
        item_codes=dataset.event_items,
        times=dataset.event_times,
        labels=labels,
        histories=dataset.keep(is_click),
        context=clock_context(dataset.event_times, utc_offset),
        context_levels=CLOCK,
        sub_domains=sub_domains,
        sub_domain_names=names,
        user_attributes=dataset.user_attributes,
        item_attributes=dataset.item_attributes,
        utc_offset=utc_offset,
    )
