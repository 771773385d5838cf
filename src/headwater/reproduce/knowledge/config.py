"""What is run: a data set, its sub-domains, the base model, and the models that know more."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from headwater.config import Settings, parse, read_toml
from headwater.errors import ConfigError
from headwater.knowledge.config import DecompositionConfig, DegenerationConfig, ExtractionConfig, PlugConfig
from headwater.ranking.can import CANConfig
from headwater.ranking.din import DINConfig


class LogDays(Settings):
    """How an impression log is cut by days, as the paper's was; earlier days come first, later ones are left out."""

    pretrain: int = Field(default=5, ge=1)
    """Days of all sub-domains that are the super-domain."""

    train: int = Field(default=2, ge=1)
    """Days after them, of which one sub-domain's impressions train."""

    test: int = Field(default=1, ge=1)
    """Days after them that test."""


class KnowledgeRecipe(Settings):
    """One data set."""

    dataset: str
    """A name of the catalogue, with ratings and times; with `days`, the name of an imported impression log."""

    days: LogDays | None = None
    """Cuts a log by days into the log's own sub-domains; without, ratings are cut by user and `attribute`."""

    attribute: str = "genres"
    """Item attribute whose values are the sub-domains; an item of several values is in several."""

    click: float = 4.0
    """Least rating of a click."""

    conversion: float = 5.0
    """Least rating of a conversion."""

    least: int = Field(default=500, ge=1)
    """Sub-domains with fewer impressions to train on are left out."""

    largest: int = Field(default=5, ge=1)
    """So many of the largest sub-domains are for every method; the others for base, `base-80` and KEEP alone."""

    domains: tuple[str, ...] = ()
    """These alone, in place of all that are large enough."""

    base: DINConfig | CANConfig = Field(discriminator="kind")
    """The model of a sub-domain, which every method has."""

    extraction: ExtractionConfig = ExtractionConfig(item_attributes=("category",))
    """What is learned of the super-domain."""

    decomposition: DecompositionConfig = DecompositionConfig(item_attributes=("category",))
    """The same as two towers."""

    degeneration: DegenerationConfig = DegenerationConfig()
    """The same by category."""

    plug: PlugConfig = PlugConfig()
    """How it is plugged in."""


def load_knowledge_recipe(path: Path) -> KnowledgeRecipe:
    """Read a recipe. Raises `ConfigError` as `parse` does."""
    return parse(KnowledgeRecipe, read_toml(path), str(path))


def load_knowledge_recipes(folder: Path) -> dict[str, KnowledgeRecipe]:
    """Every recipe of a folder by the name of its file. Raises `ConfigError` where there is none."""
    found = {path.stem: load_knowledge_recipe(path) for path in sorted(folder.glob("*.toml"))}
    if not found:
        raise ConfigError(f"{folder} holds no recipe; give the folder that does, such as recipes/reproduce/knowledge")
    return found
