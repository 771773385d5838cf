"""A recipe: one experiment as TOML, data set × channels × ranker, read and checked."""

from __future__ import annotations

import dataclasses
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny

from headwater.config import Settings, parse, read_toml
from headwater.data import Dataset, Split, global_time, leave_one_out
from headwater.errors import ConfigError
from headwater.ranking import ranker_class
from headwater.ranking.affinity import AffinityConfig
from headwater.ranking.config import RankerSettings
from headwater.retrieval import CHANNELS, channel_class
from headwater.retrieval.base import ChannelSettings


class SplitRecipe(Settings):
    """How the data are cut for evaluation."""

    kind: Literal["leave-one-out", "global-time"] = "leave-one-out"
    """Leave-one-out tests each user's last interaction; global-time cuts all users at two moments."""
    validation: float = Field(default=0.1, gt=0, lt=1)
    """Share of interactions in the validation window (global-time only)."""
    test: float = Field(default=0.1, gt=0, lt=1)
    """Share of interactions in the test window (global-time only)."""
    requests: int | None = Field(default=None, ge=1)
    """Requests that are validated and tested at most, drawn by a fixed seed; all where it is left out."""

    def split(self, dataset: Dataset) -> Split:
        """Cut `dataset` as this says."""
        if self.kind == "leave-one-out":
            split = leave_one_out(dataset)
        else:
            split = global_time(dataset, validation=self.validation, test=self.test)
        if self.requests is None:
            return split
        validation, test = split.validation.sampled(self.requests), split.test.sampled(self.requests)
        return dataclasses.replace(split, validation=validation, test=test)


class MergeRecipe(Settings):
    """How the service shares its candidates out among channels."""

    pool: int = Field(default=300, ge=1, le=10_000)
    """Candidates merged and ranked for a request; the answer shows the first k of them."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Share of each channel by name, `nearline` included; a channel that is not named gets 1. Names such as
    `nearline/main_search` make the nearline candidates of those scenarios channels of their own, in place of one."""

    @property
    def nearline(self) -> list[str]:
        """The nearline channels' names."""
        return [name for name in self.weights if name.startswith("nearline/")] or ["nearline"]


class EvaluateRecipe(Settings):
    """What `headwater evaluate` measures."""

    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(10, 20, 50), min_length=1)
    """Cut-offs of the metrics, ascending."""
    incremental_ks: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(10, 50, 200), min_length=1)
    """Cut-offs at which `--all` says what each channel adds to the others."""
    sampled_negatives: bool = True
    """Whether the 99-negative protocol stands beside full ranking."""
    seed: int = 0
    """Seed of the sampled negatives."""
    refit: bool = False
    """Beside it, fit each channel once more, on training and validation part together, for as many epochs as gave the
    best validation, and measure that on the test part too. What serves tomorrow is fitted so; many published figures
    are, too."""


class Recipe(Settings):
    """One experiment."""

    dataset: str
    """A known name (`ml-1m`) or the folder of an imported data set."""
    min_item_interactions: int = Field(default=1, ge=1)
    """Items with fewer interactions are left out before the split; 1 keeps the whole catalogue. Published tables
    of ML-1M use 5 (3,416 of 3,706 items)."""
    min_user_interactions: int = Field(default=1, ge=1)
    """Users with fewer interactions, with the items that are left in, are left out before the split; 1 keeps all."""
    split: SplitRecipe = SplitRecipe()
    """How the data are cut for evaluation."""
    channels: tuple[SerializeAsAny[ChannelSettings], ...]
    """Trained channels, each with its `kind` and settings."""
    ranker: SerializeAsAny[RankerSettings] = AffinityConfig()
    """What orders the candidates of all channels: its `kind` and settings."""
    merge: MergeRecipe = MergeRecipe()
    """How the service merges channels."""
    evaluate: EvaluateRecipe = EvaluateRecipe()
    """What `headwater evaluate` measures."""

    def load_dataset(self, home: Path | str, *, packed: Path | None = None) -> Dataset:
        """The data set without rare items and short histories, from `home` or from a file of `headwater data pack`.

        Parameters
        ----------
        packed : Path, optional
            A packed file, or a folder that may hold one named after the data set (`ml-1m.npz`); what it does not
            hold is taken from `home`.

        Raises
        ------
        DatasetUnavailable, ArtefactError
            See `headwater.data.catalogue.load` and `headwater.data.packed.unpack`.
        ConfigError
            The packed file holds another data set.
        """
        dataset = load_named(self.dataset, home, packed=packed)
        if self.min_item_interactions > 1:
            dataset = dataset.with_frequent_items(self.min_item_interactions)
        return dataset.with_active_users(self.min_user_interactions)


def load_named(dataset: str, home: Path | str, *, packed: Path | None = None) -> Dataset:
    """The whole data set of a name, from `home` or a packed file; see `Recipe.load_dataset`."""
    name = Path(dataset).name
    if packed is not None and packed.is_dir():
        packed = packed / f"{name}.npz"
        packed = packed if packed.exists() else None
    if packed is None:
        from headwater.data.catalogue import load

        return load(dataset, home)
    from headwater.data.packed import unpack

    found = unpack(packed)
    if found.name != name:
        raise ConfigError(f"{packed} holds {found.name!r}, and the recipe asks for {name!r}")
    return found


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    `inherits = "ml-1m.toml"` takes every top-level key that the file does not set itself from a recipe beside it,
    which inherits from none: a small data set is measured with the settings that were chosen on a larger one.

    Raises
    ------
    ConfigError
        No such file, broken TOML, an unknown or mistyped key (with the nearest valid one), no channel, an
        unknown kind of channel, or two channels of one name.
    """
    values = read_toml(path)
    if "inherits" in values:
        values = _inherited(path, str(values.pop("inherits"))) | values
    listed = values.get("channels", [])
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise ConfigError(f"{path}: channels must be tables: [[channels]]")
    if not listed:
        raise ConfigError(f"{path}: a recipe needs at least one [[channels]] table; kinds: {', '.join(CHANNELS)}")
    channels = [_channel(entry, f"{path}: channels[{at}]") for at, entry in enumerate(listed)]
    names = [channel.name for channel in channels]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{path}: two channels are named {twice[0]!r}; give one of them another `name`")
    if "ranker" in values:
        values["ranker"] = _ranker(values["ranker"], f"{path}: ranker")
    recipe = parse(Recipe, values | {"channels": channels}, str(path))
    nearline = recipe.merge.nearline
    if "nearline" not in nearline and "nearline" in recipe.merge.weights:
        raise ConfigError(
            f"{path}: merge.weights names both 'nearline' and {nearline[0]!r}: give all scenarios one share "
            "together, or each one its own"
        )
    strangers = sorted(recipe.merge.weights.keys() - {*names, *nearline})
    if strangers:
        nearest = get_close_matches(strangers[0], [*names, "nearline"], 1, 0.0)[0]
        raise ConfigError(
            f"{path}: merge.weights names {strangers[0]!r}, which is no channel of this recipe; "
            f"did you mean {nearest!r}? (valid: {', '.join([*names, 'nearline'])})"
        )
    return recipe


def load_recipes(path: Path) -> dict[str, Recipe]:
    """Every recipe of a folder, or the one that `path` is, by file name without its ending.

    Raises `ConfigError` where there is none, and as `load_recipe` does.
    """
    paths = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not paths:
        raise ConfigError(f"{path} holds no recipe (*.toml)")
    return {found.stem: load_recipe(found) for found in paths}


def _inherited(path: Path, name: str) -> dict[str, Any]:
    values = read_toml(path.parent / name)
    if "inherits" in values:
        raise ConfigError(f"{path}: inherits {name!r}, which inherits itself; name {values['inherits']!r} here")
    return values


def _channel(entry: dict[str, Any], where: str) -> ChannelSettings:
    if "kind" not in entry:
        raise ConfigError(f"{where}: needs a `kind`: one of {', '.join(CHANNELS)}")
    try:
        config_class = channel_class(entry["kind"]).config_class
    except ConfigError as error:
        raise ConfigError(f"{where}.kind: {error}") from error
    return parse(config_class, entry, where)


def _ranker(entry: Any, where: str) -> RankerSettings:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be a table: [ranker]")
    try:
        config_class = ranker_class(entry.get("kind", "affinity")).config_class
    except ConfigError as error:
        raise ConfigError(f"{where}.kind: {error}") from error
    return parse(config_class, entry, where)
