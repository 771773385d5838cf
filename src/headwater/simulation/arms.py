"""One arm of an experiment as TOML: which channels feed the homepage, by what weights, and how fresh nearline is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from headwater.config import Settings, parse, read_toml
from headwater.errors import ConfigError
from headwater.nearline.policy import Policy
from headwater.ranking import ranker_class
from headwater.ranking.config import NetworkConfig, RankerSettings
from headwater.retrieval import CHANNELS, channel_class
from headwater.retrieval.base import ChannelSettings
from headwater.simulation.config import BazaarConfig

Refresh = Literal["stream", "daily"]
Scenario = Literal["homepage", "main_search", "photo_search", "post_purchase", "in_shop", "mini_detail"]

GLARE = "glare"
"""Name of the channel that reads the homepage's own log."""


class NearlineArm(Settings):
    """How rank logs become candidates."""

    policy: Policy = Policy()
    """Of the operator."""
    refresh: Refresh = "stream"
    """`stream`: the real stream takes in what was ranked before the next minute begins; `daily`: candidates are
    computed at midnight and stay for the day (the paper's table 2)."""


class GlareArm(Settings):
    """How the homepage's own rank log becomes candidates: Netflix's Glare, a baseline of the nearline paper."""

    policy: Policy = Policy()
    """Of the operator; it takes the homepage alone for its source, whatever it names."""
    refresh: Refresh = "daily"
    """The paper calls it "non-real-time"."""


class DaysConfig(Settings):
    """What is played before and while something is measured."""

    warm_up: int = Field(default=2, ge=2)
    """Days with untrained rankers and no channels: what rankers and channels learn from, the same for every arm."""
    settle: int = Field(default=1, ge=0)
    """Days that the arm serves before it is measured: nearline begins with nothing."""
    measured: int = Field(default=2, ge=1)
    """Days that are measured. Hirate looks 24 hours ahead, and needs two."""

    @property
    def in_all(self) -> int:
        return self.warm_up + self.settle + self.measured


class ArmConfig(Settings):
    """One arm."""

    name: str = Field(min_length=1, max_length=32)
    """In tables and rank logs."""
    bazaar: BazaarConfig = BazaarConfig()
    """The world. The arms of an experiment have one."""
    days: DaysConfig = DaysConfig()
    """What is played."""
    channels: tuple[SerializeAsAny[ChannelSettings], ...] = Field(min_length=1)
    """Trained channels, as in a recipe."""
    nearline: NearlineArm | None = None
    """Without it the rank logs of other scenarios are not read."""
    glare: GlareArm | None = None
    """Without it the homepage's own rank log is not read; with it, it makes the channel `glare`."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Share of the homepage's candidates by channel, 1 for one that is not named. As in recipes, `nearline` is all
    scenarios together, and `nearline/main_search` one of them."""
    rankers: dict[Scenario, SerializeAsAny[RankerSettings]] = Field(default_factory=dict)
    """Rankers of the ranking stage, `din` or `can`, by scenario, trained on what that scenario showed in the first
    days; the bazaar's logistic regression where none is named. They know what a service would: the user's clicks and
    the item on view. What a search asks for they do not, but all its candidates are of that category."""
    stall_seconds: float = Field(default=10.0, gt=0)
    """How long a channel may take for the requests of one minute before it is cut off."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [channel.name for channel in self.channels]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"channels: two are named {twice[0]!r}")
        every = [*names, *self.nearline_names, *([GLARE] if self.glare else [])]
        strangers = sorted(self.weights.keys() - set(every))
        if strangers:
            raise ValueError(f"weights names {strangers[0]!r}; there are {', '.join(every)}")
        if self.days.in_all > self.bazaar.world.days:
            raise ValueError(f"days ({self.days.in_all} in all) exceed bazaar.world.days ({self.bazaar.world.days})")
        return self

    def fast(self) -> Self:
        """The same in a small world, for one day without settling: enough to show that everything runs."""
        days = DaysConfig(warm_up=2, settle=0, measured=1)
        return self.model_copy(update={"bazaar": self.bazaar.fast(), "days": days})

    @property
    def nearline_names(self) -> list[str]:
        """The nearline channels' names; none without nearline."""
        if self.nearline is None:
            return []
        return [name for name in self.weights if name.startswith("nearline/")] or ["nearline"]


def load_arm(path: Path) -> ArmConfig:
    """Read an arm; raises `ConfigError`, which names the file, the key, and the nearest valid one."""
    values = read_toml(path)
    parsed = {"channels": parsed_channels(values, path), "rankers": _rankers(values.get("rankers", {}), str(path))}
    return parse(ArmConfig, values | parsed, str(path))


def parsed_channels(values: dict[str, Any], path: Path, key: str = "channels") -> list[ChannelSettings]:
    """The settings of each table of an array of a file's values, by its kind; raises `ConfigError` as `load_arm` does.

    One at least of `channels`; of another key there may be none.
    """
    listed = values.get(key, [])
    is_short = key == "channels" and not listed
    if is_short or not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise ConfigError(f"{path}: {key} must be tables: [[{key}]], one at least; kinds: {', '.join(CHANNELS)}")
    return [_channel(entry, f"{path}: {key}[{at}]") for at, entry in enumerate(listed)]


def require_same_world(control: ArmConfig, treatment: ArmConfig) -> None:
    """Raise `ConfigError` where two arms could not be compared: another world, or other days."""
    if control.bazaar != treatment.bazaar:
        raise ConfigError(
            f"bazaar: {control.name!r} plays in world {control.bazaar.hash} and {treatment.name!r} in "
            f"{treatment.bazaar.hash}; give both the same settings"
        )
    if control.days != treatment.days:
        raise ConfigError(f"days: {control.name!r} and {treatment.name!r} play other days; give both the same")
    if control.name == treatment.name:
        raise ConfigError(f"name: both arms are named {control.name!r}")


def _rankers(given: Any, where: str) -> dict[str, RankerSettings]:
    if not isinstance(given, dict) or not all(isinstance(entry, dict) and "kind" in entry for entry in given.values()):
        raise ConfigError(f'{where}: rankers must be tables with a `kind`, such as [rankers.homepage] kind = "din"')
    found = {}
    for scenario, entry in given.items():
        own = getattr(ranker_class(entry["kind"]), "config_class", None)
        if own is None or not issubclass(own, NetworkConfig):
            raise ConfigError(f"{where}: rankers.{scenario}.kind: {entry['kind']!r} does not learn from impressions")
        found[scenario] = parse(own, entry, f"{where}: rankers.{scenario}")
    return found


def _channel(entry: dict[str, Any], where: str) -> ChannelSettings:
    if "kind" not in entry:
        raise ConfigError(f"{where}: needs a `kind`: one of {', '.join(CHANNELS)}")
    try:
        config_class = channel_class(entry["kind"]).config_class
    except ConfigError as error:
        raise ConfigError(f"{where}.kind: {error}") from error
    return parse(config_class, entry, where)
