"""The methods of others that KEEP is compared with, on the same cut.

Those of two domains learn the second part of a user's impressions, of all items (source) and of the sub-domain
(target), as `keep-c` does. Those that pre-train read the super-domain's clicks before, and then learn what the base
model learns.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from headwater.experiment.provenance import with_seed
from headwater.knowledge.baselines.conet import CoNet
from headwater.knowledge.baselines.darec import DARec
from headwater.knowledge.baselines.domains import with_domains
from headwater.knowledge.baselines.fine_tuned import FineTuned, clicked
from headwater.knowledge.baselines.s3rec import S3Rec
from headwater.reproduce.knowledge.methods import Predictions, Trial
from headwater.retrieval.sequence.bert4rec import BERT4Rec


def two_domains(trial: Trial, new: Callable[[Trial], Any]) -> Predictions:
    """A network of both domains at once, for each sub-domain anew."""
    for domain in trial.domains:
        model = new(trial)
        trial.say(f"{domain}: {model.kind}")
        source = trial.cut.read_by(domain, trial.cut.part(1))
        both = with_domains(source, trial.cut.membership[domain][source.item_codes])
        yield trial.predictions(trial.fitted(model, domain, both), domain)


def fine_tuned(trial: Trial, new: Callable[[Trial], BERT4Rec]) -> Predictions:
    """One encoder of the super-domain's clicks; from it, the ranker of each sub-domain."""
    untrained, part = new(trial), trial.cut.part(0)

    def learn() -> BERT4Rec:
        trial.say(f"{untrained.name}: pre-training")
        return untrained.fit(clicked(part))

    encoder = trial.remembered(untrained.config, part, learn)
    for domain in trial.domains:
        trial.say(f"{domain}: {encoder.name}")
        model = FineTuned(trial.new_base(), encoder)
        yield trial.predictions(trial.fitted(model, domain, trial.cut.part(1, domain=domain)), domain)


def bert4rec(trial: Trial) -> BERT4Rec:
    """Untrained, long enough for the base model's histories."""
    config = trial.recipe.baselines.bert4rec
    return BERT4Rec(with_seed(config.model_copy(update={"length": trial.recipe.base.length + 1}), trial.seed))


def s3rec(trial: Trial) -> S3Rec:
    """The same, which is asked for the attributes that the base model reads."""
    config, base = trial.recipe.baselines.s3rec, trial.recipe.base
    inputs = config.inputs.model_copy(update={"attributes": base.item_attributes})
    return S3Rec(with_seed(config.model_copy(update={"length": base.length + 1, "inputs": inputs}), trial.seed))


BASELINES: dict[str, Callable[[Trial], Predictions]] = {
    "conet": partial(two_domains, new=lambda trial: CoNet(trial.new_base(), trial.recipe.baselines.conet)),
    "darec": partial(two_domains, new=lambda trial: DARec(trial.new_base(), trial.recipe.baselines.darec)),
    "bert4rec": partial(fine_tuned, new=bert4rec),
    "s3rec": partial(fine_tuned, new=s3rec),
}
