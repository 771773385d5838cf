"""From a recipe to a promoted release that knows its users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from headwater.data import Dataset
from headwater.errors import ConfigError, SchemaError
from headwater.experiment.measure import Say, evaluate_recipe, fit_channel, for_more_data
from headwater.home import Home
from headwater.ranking.config import SERVICE_CONTEXT
from headwater.recipe import Recipe
from headwater.retrieval.base import Channel

# Store and releases are imported where they are used: a training machine evaluates without lmdb and msgspec.


def train(recipe: Recipe, dataset: Dataset, home: Home, *, validate: bool = True, say: Say = lambda _: None) -> str:
    """Train a release on every interaction, promote it in `home`, and return its id.

    With `validate` the channels are first fitted on the training part and measured on validation, and the
    manifest records the figures. On all interactions nothing is left to validate with, so a channel over a trained
    network is then trained for the epochs after which validation was best; without `validate` for those that the
    recipe says. The users' histories are written to the profile store, so that the service knows whom the data
    set knows; running this twice changes nothing there.
    """
    require_own_home(dataset, home)
    require_servable(recipe)
    try:
        rows = evaluate_recipe(recipe, dataset, part="validation", say=say).rows if validate else []
    except SchemaError as error:
        raise SchemaError(f"{error}; train without measuring first: --no-validate") from error
    measured = {row.channel: row for row in rows}
    channels = []
    for chosen in recipe.channels:
        row = measured.get(chosen.name)
        settings = for_more_data(chosen, row.training if row else None)
        channels.append(fit_channel(settings, dataset, say=say)[0])
    metrics = {name: row.full.metrics for name, row in measured.items()}
    return promote_fitted(recipe, channels, home, learned_from=dataset, histories=dataset, metrics=metrics, say=say)


def promote_fitted(
    recipe: Recipe,
    channels: Sequence[Channel],
    home: Home,
    *,
    learned_from: Dataset,
    histories: Dataset,
    metrics: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    say: Say = lambda _: None,
) -> str:
    """Put channels that are fitted already into a release with the recipe's ranker, promote it, and return its id.

    Parameters
    ----------
    channels : sequence of Channel
        Fitted on `learned_from`.
    learned_from : Dataset
        What the ranker is fitted on too, and the manifest names as the release's data.
    histories : Dataset
        Whose histories go to the profile store; channels answer them whether they learned from them or not.
    metrics : mapping of str to mapping
        Validation figures of the channels by name, for the manifest.

    Raises
    ------
    ConfigError
        `home` serves another data set, or a channel reads what a service does not know.
    ReleaseError
        A channel cannot be saved.
    """
    from headwater import release as releases
    from headwater.ranking import ranker_class
    from headwater.release import Merge

    require_own_home(histories, home)
    require_servable(recipe)
    say(f"fitting the ranker {recipe.ranker.name}")
    ranker = ranker_class(recipe.ranker.kind)(recipe.ranker).fit(learned_from)
    say("building the release")
    names = [*(chosen.name for chosen in recipe.channels), *recipe.merge.nearline]
    release = releases.build(
        home.releases,
        dataset=learned_from,
        channels=channels,
        ranker=ranker,
        merge=Merge(weights={name: recipe.merge.weights.get(name, 1.0) for name in names}, pool=recipe.merge.pool),
        metrics=metrics,
    )
    say("writing the users' histories to the profile store")
    import_profiles(histories, home)
    releases.promote(home.releases, release)
    return release


def require_servable(recipe: Recipe) -> None:
    """Raise `ConfigError` where a channel reads ratings, which the profiles of a service do not keep, or the ranker
    reads what no request says: neither would be noticed when it serves."""
    for channel in recipe.channels:
        inputs = getattr(channel, "inputs", None)
        if getattr(inputs, "ratings", False):
            raise ConfigError(
                f"{channel.name} reads ratings, which a service's profiles do not keep: it would answer worse than it "
                "was measured; set inputs.ratings = false for a release (headwater evaluate takes it as it is)"
            )
    strange = set(getattr(recipe.ranker, "context", ())) - set(SERVICE_CONTEXT)
    if strange:
        raise ConfigError(
            f"{recipe.ranker.name} reads {min(strange)!r}, which no request says; "
            f"its context may hold {', '.join(SERVICE_CONTEXT)}"
        )


def require_own_home(dataset: Dataset, home: Home) -> None:
    """Raise `ConfigError` where `home` serves another data set.

    Profiles, queues and logs know users by id alone: the user 1 of two data sets would become one.
    """
    from headwater import release as releases

    known = releases.listed(home.releases)
    if known:
        served = releases.read_manifest(home.releases / known[-1]).window.dataset
        if served != dataset.name:
            raise ConfigError(
                f"{home.root} serves {served!r}, and its users' histories are kept there; train {dataset.name!r} in a "
                f"home of its own (--home), or import it under the name {served!r} if it is the same, grown"
            )


def import_profiles(dataset: Dataset, home: Home) -> None:
    """Write every user's history to the profile store of `home`; events that are there already stay one."""
    from headwater.profile.history import Profile
    from headwater.store.place import open_store

    store = open_store(home.store)
    try:
        Profile(store).append_many(
            users=dataset.users.keys[dataset.event_users],
            items=dataset.items.keys[dataset.event_items],
            times=dataset.event_times,
            behaviours=dataset.event_behaviours,
        )
    finally:
        store.close()
