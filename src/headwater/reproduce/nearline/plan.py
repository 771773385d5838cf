"""Which arms are played: a recipe's world and channels, and what the paper's tables make of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, SerializeAsAny

from headwater.config import Settings, parse, read_toml
from headwater.nearline.policy import Policy
from headwater.reproduce.jobs import FAST
from headwater.retrieval.base import ChannelSettings
from headwater.simulation.arms import ArmConfig, DaysConfig, GlareArm, NearlineArm, parsed_channels
from headwater.simulation.config import BazaarConfig
from headwater.simulation.warmup import WarmUp, kept_warm_up

ONLINE, EVERYTHING, BASE, RIVALS = "online", "everything", "main_search", "rivals"
"""Arms: the channels of the homepage's own with Glare; these with MNR's five; the base of the ablations; the homepage's
own with all rivals."""

BESIDE = "with-"
"""How the names of arms begin that have one more channel beside the homepage's own."""

SEARCH = "nearline/main_search"
SCENARIOS = ("mini_detail", "post_purchase", "main_search", "in_shop", "photo_search")
"""In the order of the paper's Table 1."""


class NearlineRecipe(Settings):
    """One world, and the arms that are played in it."""

    bazaar: BazaarConfig = BazaarConfig()
    """The world; the frozen one by default."""
    days: DaysConfig = DaysConfig()
    """What is played."""
    channels: tuple[SerializeAsAny[ChannelSettings], ...] = Field(min_length=1)
    """The homepage's own channels, in every arm; `swing` and `mind` are the paper's."""
    policy: Policy = Policy()
    """Of the operator, where an arm does not say otherwise."""
    alphas: tuple[int, ...] = (10, 20, 200, 500)
    """Of Table 4, beside the policy's own."""
    betas: tuple[int, ...] = (2, 50)
    """The same for beta, of which the paper shows nothing."""
    alternatives: tuple[SerializeAsAny[ChannelSettings], ...] = ()
    """Channels that are tried beside `channels`, each in an arm of its own: Table 3 of Paths. The first is the base."""
    rivals: tuple[SerializeAsAny[ChannelSettings], ...] = ()
    """Channels that stand beside `channels`, all in one arm: Table 6 of Divide. The first is the base."""
    stall_seconds: float = Field(default=60.0, gt=0)
    """A busy machine is no fault of a channel."""


@dataclass(frozen=True, slots=True)
class ArmJob:
    """One arm in closed loop; see `Work`.

    Attributes
    ----------
    recipe : str
        Name of the recipe's file, without its ending.
    arm : ArmConfig
    is_other_world : bool
        Whether this is another world than the recipe's, of the same settings but the seed.
    """

    recipe: str
    arm: ArmConfig
    is_other_world: bool = False

    @property
    def recipe_name(self) -> str:
        """The recipe's, followed by the world's seed where it is another world."""
        return f"{self.recipe}-{self.seed}" if self.is_other_world else self.recipe

    @property
    def channel(self) -> str:
        return self.arm.name

    @property
    def seed(self) -> int | None:
        """The world's; channels have their own, in the settings."""
        return self.arm.bazaar.world.seed

    @property
    def id(self) -> str:
        return f"{self.recipe_name}/{self.arm.name}"

    @property
    def compared(self) -> str:
        """Arms of one word here stand in one table, and must have gone on from the same first days."""
        name = self.arm.name
        return "online test" if name in (ONLINE, EVERYTHING) else name.partition("-")[0]

    @property
    def config(self) -> str:
        """The first 12 digits of the sha256 of the world's hash and of every setting that is not the default."""
        own = self.arm.model_dump(mode="json", exclude={"bazaar", "stall_seconds"}, exclude_defaults=True)
        plain = json.dumps({"world": self.arm.bazaar.hash, "arm": own}, sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:12]

    def load(self, home: Path, packed: Path | None) -> WarmUp:
        """The world after its first days, kept in the home and shared by all arms; see `kept_warm_up`."""
        return kept_warm_up(home / "bazaar", self.arm.bazaar, self.arm.days.warm_up)

    def head(self, dataset: WarmUp) -> dict[str, Any]:
        """World and warm-up, by hash and checksum."""
        clicks = dataset.clicks
        return {
            "dataset": {
                "name": clicks.name,
                "users": len(clicks.users),
                "items": len(clicks.items),
                "interactions": len(clicks),
                "checksum": dataset.checksum(),
            },
            "world": self.arm.bazaar.hash,
        }


def load_plan(folder: Path, *, is_fast: bool = False, worlds: int = 1) -> list[ArmJob]:
    """The jobs of every recipe of `folder` but the one of `--fast`, or of that alone.

    In so many worlds: the recipe's own, and others under the seeds that follow. Raises `ConfigError`, which names the
    file, the key, and the nearest valid one.
    """
    fast = folder / f"{FAST}.toml"
    paths = [fast] if is_fast else sorted(path for path in folder.glob("*.toml") if path != fast)
    recipes = {path.stem: load_recipe(path) for path in paths}
    return [
        ArmJob(name, arm, is_other_world=further > 0)
        for name, recipe in recipes.items()
        for further in range(worlds)
        for arm in arms_of(in_world(recipe, further))
    ]


def in_world(recipe: NearlineRecipe, further: int) -> NearlineRecipe:
    """The recipe in the world whose seed lies so much above its own; 0 is its own."""
    world = recipe.bazaar.world
    seeded = world.model_copy(update={"seed": world.seed + further})
    return recipe.model_copy(update={"bazaar": recipe.bazaar.model_copy(update={"world": seeded})})


def load_recipe(path: Path) -> NearlineRecipe:
    """Read a recipe; raises `ConfigError` as `load_arm` does."""
    values = read_toml(path)
    parsed = {key: parsed_channels(values, path, key) for key in ("channels", "alternatives", "rivals")}
    return parse(NearlineRecipe, values | parsed, str(path))


def arms_of(recipe: NearlineRecipe) -> list[ArmConfig]:
    """Every arm that the tables need."""
    policy = recipe.policy
    arms = [
        _arm(recipe, ONLINE, glare=GlareArm(policy=policy)),
        _arm(
            recipe,
            EVERYTHING,
            glare=GlareArm(policy=policy),
            nearline=NearlineArm(policy=policy),
            weights={f"nearline/{scenario}": 1.0 for scenario in SCENARIOS},
        ),
    ]

    def ablation(name: str, nearline: NearlineArm) -> None:
        arms.append(_arm(recipe, name, nearline=nearline, weights={SEARCH: 1.0}))

    ablation(BASE, NearlineArm(policy=policy))
    ablation(f"{BASE}-daily", NearlineArm(policy=policy, refresh="daily"))
    for strategy in ("fifo", "random"):
        ablation(f"{BASE}-{strategy}", NearlineArm(policy=_changed(policy, {"strategy": strategy})))
    for name, values in (("alpha", recipe.alphas), ("beta", recipe.betas)):
        for value in values:
            if value != getattr(policy, name):
                ablation(f"{BASE}-{name}-{value}", NearlineArm(policy=_changed(policy, {name: value})))
    arms += [_arm(recipe, f"{BESIDE}{other.name}", channels=(*recipe.channels, other)) for other in recipe.alternatives]
    if recipe.rivals:
        arms.append(_arm(recipe, RIVALS, channels=(*recipe.channels, *recipe.rivals)))
    return arms


def _arm(recipe: NearlineRecipe, name: str, **settings: Any) -> ArmConfig:
    shared = {name: getattr(recipe, name) for name in ("bazaar", "days", "channels", "stall_seconds")}
    return parse(ArmConfig, {**shared, "name": name, **settings}, name)


def _changed(policy: Policy, changed: Mapping[str, Any]) -> Policy:
    return parse(Policy, {**policy.model_dump(), **changed}, "policy")
