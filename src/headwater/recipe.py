"""A recipe: one experiment as TOML, data set × channels × ranker, read and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializeAsAny

from headwater.config import Settings, parse, read_toml
from headwater.data import Dataset, Split, global_time, leave_one_out
from headwater.errors import ConfigError
from headwater.ranking.affinity import AffinityConfig
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

    def split(self, dataset: Dataset) -> Split:
        """Cut `dataset` as this says."""
        if self.kind == "leave-one-out":
            return leave_one_out(dataset)
        return global_time(dataset, validation=self.validation, test=self.test)


class MergeRecipe(Settings):
    """How the service shares its candidates out among channels."""

    pool: int = Field(default=300, ge=1, le=10_000)
    """Candidates merged and ranked for a request; the answer shows the first k of them."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Share of each channel by name, `nearline` included; a channel that is not named gets 1."""


class EvaluateRecipe(Settings):
    """What `headwater evaluate` measures."""

    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(10, 20, 50), min_length=1)
    """Cut-offs of the metrics, ascending."""
    sampled_negatives: bool = True
    """Whether the 99-negative protocol stands beside full ranking."""
    seed: int = 0
    """Seed of the sampled negatives."""


class Recipe(Settings):
    """One experiment."""

    dataset: str
    """A known name (`ml-1m`) or the folder of an imported data set."""
    split: SplitRecipe = SplitRecipe()
    """How the data are cut for evaluation."""
    channels: tuple[SerializeAsAny[ChannelSettings], ...]
    """Trained channels, each with its `kind` and settings."""
    ranker: AffinityConfig = AffinityConfig()
    """What orders the candidates of all channels."""
    merge: MergeRecipe = MergeRecipe()
    """How the service merges channels."""
    evaluate: EvaluateRecipe = EvaluateRecipe()
    """What `headwater evaluate` measures."""


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    ConfigError
        No such file, broken TOML, an unknown or mistyped key (with the nearest valid one), no channel, an
        unknown kind of channel, or two channels of one name.
    """
    values = read_toml(path)
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
    recipe = parse(Recipe, values | {"channels": channels}, str(path))
    strangers = sorted(recipe.merge.weights.keys() - {*names, "nearline"})
    if strangers:
        raise ConfigError(f"{path}: merge.weights names {strangers[0]!r}, which is no channel of this recipe")
    return recipe


def _channel(entry: dict[str, Any], where: str) -> ChannelSettings:
    if "kind" not in entry:
        raise ConfigError(f"{where}: needs a `kind`: one of {', '.join(CHANNELS)}")
    try:
        config_class = channel_class(entry["kind"]).config_class
    except ConfigError as error:
        raise ConfigError(f"{where}.kind: {error}") from error
    return parse(config_class, entry, where)
