"""How much of a test's outcome is the world's doing: both arms again, with one parameter of the world changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headwater.config import parse
from headwater.experiment.document import read_document, write_document
from headwater.experiment.provenance import commit_id, machine
from headwater.simulation.abtest import paired
from headwater.simulation.arms import ArmConfig, DaysConfig
from headwater.simulation.config import BazaarConfig
from headwater.simulation.loop import run_arm
from headwater.simulation.warmup import warm_up

VARIED: dict[str, tuple[float, ...]] = {
    "behaviour.intent_in_search": (0.2, 0.5, 0.85, 1.0),
    "world.drift": (0.0, 0.08, 0.2, 0.4),
    "behaviour.examination": (0.0, 0.25, 0.5, 1.0),
    "world.zipf": (0.5, 0.9, 1.2),
}
"""Parameter of `BazaarConfig` -> its values, the frozen one among them."""

DAYS = DaysConfig(warm_up=2, settle=0, measured=1)
"""What is played of each."""


@dataclass(frozen=True)
class Variant:
    """A world of which one parameter has another value, or none (`key` empty)."""

    key: str
    value: float

    @property
    def id(self) -> str:
        """Such as `zipf-0.5`, and `frozen` for the world as it is."""
        return f"{self.key.rpartition('.')[2]}-{self.value:g}" if self.key else "frozen"

    def of(self, arm: ArmConfig, users: int) -> ArmConfig:
        """The arm in this world, with so many users. Raises `ConfigError` where the world cannot have the value."""
        plain: dict[str, Any] = arm.bazaar.model_dump()
        plain["world"] |= {"users": users}
        if self.key:
            table, _, name = self.key.partition(".")
            plain[table] |= {name: self.value}
        return arm.model_copy(update={"bazaar": parse(BazaarConfig, plain, self.id), "days": DAYS})


def variants() -> list[Variant]:
    """The frozen world, and then each other value of each parameter."""
    frozen = BazaarConfig().model_dump()
    found = [Variant("", 0.0)]
    for key, values in VARIED.items():
        table, _, name = key.partition(".")
        found += [Variant(key, value) for value in values if value != frozen[table][name]]
    return found


def run(
    chosen: Sequence[Variant],
    arms: Sequence[ArmConfig],
    users: int,
    folder: Path,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[Variant, dict[str, Any]]]:
    """Play both arms in each variant whose document `folder` does not hold yet; of each what was found.

    Parameters
    ----------
    chosen : variants
    arms : control and treatment
    users : int
    folder : Path
        Of one JSON document a variant.
    """
    for variant in chosen:
        control, treatment = (variant.of(arm, users) for arm in arms)
        document = _kept(variant, arms, users, folder)
        if document is None:
            found = _played(control, treatment, lambda text, name=variant.id: say(f"{name}: {text}"))
            document = {"config": _hash(control, treatment), "variant": variant.id, "users": users, **found}
            write_document(folder / f"{variant.id}.json", document)
        yield variant, document


def done(arms: Sequence[ArmConfig], users: int, folder: Path) -> list[tuple[Variant, dict[str, Any]]]:
    """Every variant that was played so far, by whichever machine, with what was found."""
    kept = [(variant, _kept(variant, arms, users, folder)) for variant in variants()]
    return [(variant, document) for variant, document in kept if document is not None]


def _kept(variant: Variant, arms: Sequence[ArmConfig], users: int, folder: Path) -> dict[str, Any] | None:
    """Its document, where it is one of these arms and users."""
    document = read_document(folder / f"{variant.id}.json")
    return document if document.get("config") == _hash(*(variant.of(arm, users) for arm in arms)) else None


def _played(control: ArmConfig, treatment: ArmConfig, say: Callable[[str], None]) -> dict[str, Any]:
    start = warm_up(control.bazaar, control.days.warm_up, say)
    results = []
    for arm in (control, treatment):
        with TemporaryDirectory(prefix="headwater-bazaar-") as folder:
            results.append(run_arm(start, arm, Path(folder), say))
    differences = paired(results[0].measures.users, results[1].measures.users)
    return {
        "world": control.bazaar.hash,
        "arms": [result.arm.name for result in results],
        "pvr": {row.name: row.pvr for row in results[1].measures.channels()},
        "channel_ctr": {row.name: row.ctr for row in results[1].measures.channels()},
        "differences": {
            one.metric: {
                "control": one.control,
                "treatment": one.treatment,
                "relative": one.relative,
                "low": one.low,
                "high": one.high,
            }
            for one in differences
            if one.relative == one.relative  # nan: nothing to compare with
        },
        "row": {"commit": commit_id(), "machine": machine()},
    }


def _hash(*arms: ArmConfig) -> str:
    # Without defaults, so that a new setting changes nothing for who does not use it; kinds are defaults too.
    plain = [
        [arm.model_dump(mode="json", exclude_defaults=True), [channel.kind for channel in arm.channels]] for arm in arms
    ]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]
