"""What is run: a data set, its sub-domains, the base model, and the models that know more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from headwater.config import Settings, parse, read_toml
from headwater.errors import ConfigError
from headwater.knowledge.baselines.config import CoNetConfig, DARecConfig
from headwater.knowledge.baselines.s3rec import S3RecConfig
from headwater.knowledge.config import DecompositionConfig, DegenerationConfig, ExtractionConfig, PlugConfig
from headwater.nn.settings import TrainingConfig
from headwater.ranking.can import CANConfig
from headwater.ranking.din import DINConfig
from headwater.retrieval.sequence.bert4rec import BERT4RecConfig

History = Literal["all", "own"]


class BERT4RecEncoder(BERT4RecConfig):
    """How BERT4Rec is pre-trained; its `length` is that of the base model and one more."""

    dimension: int = 32
    """Half the width of both papers, for a CPU."""

    layers: int = 2
    """As in both papers."""

    heads: int = 2
    """Likewise."""

    dropout: float = 0.2
    """Of the ranker that goes on with it, too (0.1..0.4)."""

    training: TrainingConfig = TrainingConfig(epochs=20, batch_size=128)
    """A pass hides a fifth of each history, so all of it has been hidden some four times."""


class S3RecEncoder(S3RecConfig):
    """Likewise of S3-Rec; the attributes that it predicts are those that the base model reads of items."""

    dimension: int = 32
    """As `BERT4RecEncoder`."""

    layers: int = 2
    """As `BERT4RecEncoder`."""

    heads: int = 2
    """As `BERT4RecEncoder`."""

    dropout: float = 0.2
    """As `BERT4RecEncoder`."""

    training: TrainingConfig = TrainingConfig(epochs=8, batch_size=128)
    """As much time as BERT4Rec has: a pass costs two and a half of its passes."""


class BaselinesConfig(Settings):
    """Settings of the methods that KEEP is compared with."""

    bert4rec: BERT4RecEncoder = BERT4RecEncoder()
    """Of its pre-training."""

    s3rec: S3RecEncoder = S3RecEncoder()
    """Of its pre-training."""

    conet: CoNetConfig = CoNetConfig()
    """Of the cross units."""

    darec: DARecConfig = DARecConfig()
    """Of the discriminator."""


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
    """A name of the catalogue, with times; with `days`, the name of an imported impression log."""

    impressions: Literal["rated", "purchased"] = "rated"
    """What is an impression, without `days`: a rating, or a purchase beside sampled items of its sub-domain."""

    negatives: int = Field(default=1, ge=1)
    """Items sampled for each purchase."""

    days: LogDays | None = None
    """Cuts a log by days into the log's own sub-domains; without, impressions are cut by user and `attribute`."""

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

    period: int = Field(default=1, ge=1)
    """Least impressions of a day that is learned from: a shorter one is joined with the next, lest a step of a handful
    of impressions weigh as much as one of hundreds."""

    history: History = "all"
    """What the models of a sub-domain read of a user: all that happened before, or clicks of the sub-domain alone, as
    of a subsystem that is optimised with its own feedback. Extraction and the encoders of BERT4Rec and S3-Rec, which
    learn from the super-domain first, read all."""

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

    baselines: BaselinesConfig = BaselinesConfig()
    """Of other methods."""

    passes: int = Field(default=1, ge=1)
    """Times that a method learns from its sub-domain, each time day by day (1..5)."""

    super_passes: int = Field(default=1, ge=1)
    """Times that the super-domain is learned from: by extraction, decomposition and degeneration, and by the base model
    that is fine-tuned."""

    super_training: TrainingConfig | None = None
    """How the base model learns from the super-domain before it is fine-tuned; none: as from the sub-domain."""

    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Method -> settings of a recipe that it has in place of the ones above, tables within tables one by one."""

    def of(self, method: str) -> KnowledgeRecipe:
        """What one method runs under. Raises `ConfigError` where its own settings fit no recipe."""
        return self.changed(self.methods.get(method, {}), f"methods.{method}")

    def changed(self, own: Mapping[str, Any], where: str) -> KnowledgeRecipe:
        """The same but for `own` settings, and without those of methods. Raises `ConfigError` as `parse` does."""
        plain = self.model_dump(mode="json", exclude={"methods"}, exclude_unset=True)
        plain["base"]["kind"] = self.base.kind
        return parse(KnowledgeRecipe, _merged(plain, own), where)


def _merged(plain: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(plain)
    for name, value in own.items():
        below = found.get(name)
        found[name] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return found


def load_knowledge_recipe(path: Path) -> KnowledgeRecipe:
    """Read a recipe. Raises `ConfigError` as `parse` does, for the settings of each method too."""
    recipe = parse(KnowledgeRecipe, read_toml(path), str(path))
    for method in recipe.methods:
        recipe.of(method)
    return recipe


def load_knowledge_recipes(folder: Path) -> dict[str, KnowledgeRecipe]:
    """Every recipe of a folder by the name of its file. Raises `ConfigError` where there is none."""
    found = {path.stem: load_knowledge_recipe(path) for path in sorted(folder.glob("*.toml"))}
    if not found:
        raise ConfigError(f"{folder} holds no recipe; give the folder that does, such as recipes/reproduce/knowledge")
    return found
