"""What arms have found so far, read back, and how sure each figure is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from headwater.errors import ArtefactError
from headwater.reproduce.jobs import Documents
from headwater.reproduce.nearline.plan import BESIDE, RIVALS, ArmJob
from headwater.reproduce.nearline.published import DIVIDE_TABLE_6
from headwater.simulation.abtest import DRAWS, LEVEL, Difference, paired
from headwater.simulation.measures import ALL, COUNTS, GROUPS, SUMS, figures

if TYPE_CHECKING:
    from numpy.typing import NDArray

NEEDED = ("row", "users", "channels", "funnel", "dataset", "seconds")


class Estimate(NamedTuple):
    """A figure with its 95% bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves 0 out: of a difference, that there is one."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Arm:
    """One arm that was played, in one world or in several: sums of several worlds' users stand one below the other.

    Attributes
    ----------
    documents : tuple of dict
        One for each world.
    users : (users, len(COUNTS)) int64
    channels : dict of str to (worlds * GROUPS, len(SUMS)) int64
    funnel : (6, 6) int64
    """

    documents: tuple[dict[str, Any], ...]
    users: NDArray[np.int64]
    channels: dict[str, NDArray[np.int64]]
    funnel: NDArray[np.int64]

    @property
    def source(self) -> str:
        """Where its figures come from."""
        named = [(document["job"], document["row"]) for document in self.documents]
        return "; ".join(
            f"{job}, config {row['config']}, commit {row['commit']}, {row['machine']}" for job, row in named
        )

    def figure(self, channel: str, name: str) -> Estimate | None:
        """PVR, Hirate, CTR or CTCVR of a channel, see `figures`; None where it is not defined."""
        if channel not in self.channels:
            return None
        return _estimate(self._drawn(channel, name))

    def against(self, channel: str, name: str, other: Arm, base: str) -> Estimate | None:
        """The relative difference of a channel's figure from that of channel `base` of another arm, or of this one.

        Users are drawn alike in both, so that what they share does not widen the interval.
        """
        if channel not in self.channels or base not in other.channels:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            return _estimate(self._drawn(channel, name) / other._drawn(base, name) - 1)

    def _drawn(self, channel: str, name: str) -> NDArray[np.float64]:
        """(1 + DRAWS,) the figure itself, then that of each draw of users."""
        weights = _weights(len(self.channels[ALL]))
        return figures(weights @ self.channels[channel], weights @ self.channels[ALL])[name]


@dataclass(frozen=True)
class Found:
    """All arms of one recipe.

    Attributes
    ----------
    recipe : str
    arms : dict of str to Arm
        By name; without those that were not played.
    planned : list of ArmJob
        Of its first world.
    worlds : tuple of Found
        Each world by itself, where the arms are those of several.
    """

    recipe: str
    arms: dict[str, Arm]
    planned: list[ArmJob] = field(default_factory=list)
    worlds: tuple[Found, ...] = ()

    def arm(self, name: str) -> Arm | None:
        return self.arms.get(name)

    @property
    def alternatives(self) -> list[str]:
        """Channels that are planned one by one beside the homepage's own; the others are compared with the first."""
        names = [job.arm.name for job in self.planned]
        return [name.removeprefix(BESIDE) for name in names if name.startswith(BESIDE)]

    def tests(self, treatment: str, control: str) -> dict[str, Difference]:
        """Every user in both arms, by metric; empty where either was not played."""
        treated, base = self.arm(treatment), self.arm(control)
        if treated is None or base is None:
            return {}
        return {one.metric: one for one in paired(base.users, treated.users)}

    def rival_gain(self, metric: str) -> Estimate | None:
        """What Divide gave, relative to what ComiRec gave in the same arm; None where it was not played."""
        arm = self.arm(RIVALS)
        base, rival = DIVIDE_TABLE_6
        return arm.against(rival, metric, arm, base) if arm else None


def read_found(jobs: Sequence[ArmJob], documents: Documents, say: Callable[[str], None]) -> list[Found]:
    """What there is of each recipe that has any, in the plan's order; all its worlds together, see `together`.

    Of documents that are compared, those that go on from other first days than the first does are left out, and said.
    Raises `ArtefactError` where a document is none of such a job.
    """
    found = []
    for recipe in dict.fromkeys(job.recipe for job in jobs):
        its_jobs = [job for job in jobs if job.recipe == recipe]
        names = dict.fromkeys(job.recipe_name for job in its_jobs)
        worlds = [_world([job for job in its_jobs if job.recipe_name == name], documents, say) for name in names]
        played = [world for world in worlds if world.arms]
        if played:
            found.append(together(played, say))
    return found


def together(worlds: Sequence[Found], say: Callable[[str], None]) -> Found:
    """The arms of all worlds that have played what the first has; the others are left out, and said.

    A figure is then of the sums over all users of all these worlds, and a user is compared with itself in its own.
    """
    first, whole = worlds[0], []
    for world in worlds:
        missing = first.arms.keys() - world.arms.keys()
        if missing:
            say(f"{world.recipe} has not played {min(missing)} ({len(missing)} missing), and is left out of the tables")
        else:
            whole.append(world)
    if len(whole) == 1:
        return first
    arms = {name: _stacked([world.arms[name] for world in whole]) for name in first.arms}
    return Found(first.recipe, arms, first.planned, tuple(whole))


def _stacked(arms: Sequence[Arm]) -> Arm:
    nothing = np.zeros_like(arms[0].channels[ALL])
    names = dict.fromkeys(name for arm in arms for name in arm.channels)  # one may have given nothing in some worlds
    return Arm(
        tuple(document for arm in arms for document in arm.documents),
        np.concatenate([arm.users for arm in arms]),
        {name: np.concatenate([arm.channels.get(name, nothing) for arm in arms]) for name in names},
        np.sum([arm.funnel for arm in arms], axis=0),
    )


def _world(jobs: Sequence[ArmJob], documents: Documents, say: Callable[[str], None]) -> Found:
    arms: dict[str, Arm] = {}
    checksums: dict[str, str] = {}
    for job in jobs:
        document = documents.whole(job, NEEDED)
        if document is None:
            continue
        checksum = document["dataset"]["checksum"]
        if checksums.setdefault(job.compared, checksum) != checksum:
            say(f"{job.id} went on from other first days than what it is compared with, and is left out: run it again")
            continue
        arms[job.arm.name] = _read(document, str(documents.path(job)))
    return Found(jobs[0].recipe_name, arms, list(jobs))


def _read(document: dict[str, Any], place: str) -> Arm:
    try:
        users = _columns(document["users"], COUNTS)
        channels = {name: _columns(lines, SUMS) for name, lines in document["channels"].items()}
        if any(sums.shape != (GROUPS, len(SUMS)) for sums in channels.values()) or ALL not in channels:
            raise ValueError(f"sums of {GROUPS} groups were expected, {ALL!r} among them")
        return Arm((document,), users, channels, np.array(document["funnel"], np.int64))
    except (KeyError, ValueError) as error:
        raise ArtefactError(f"{place} is damaged ({error}); move it away and run the job again") from error


def _columns(lines: dict[str, str], names: Sequence[str]) -> NDArray[np.int64]:
    return np.stack([np.array(lines[name].split(), np.int64) for name in names], axis=1)


@cache
def _weights(groups: int) -> NDArray[np.float64]:
    """(1 + DRAWS, groups) all groups once, then how often each was drawn: Poisson, alike for every arm."""
    drawn = np.random.default_rng(11).poisson(1.0, (DRAWS, groups))
    return np.concatenate([np.ones((1, groups)), drawn.astype(np.float64)])


def _estimate(drawn: NDArray[np.float64]) -> Estimate | None:
    value, draws = float(drawn[0]), drawn[1:][np.isfinite(drawn[1:])]
    if not np.isfinite(value) or len(draws) < DRAWS // 2:
        return None
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2]).tolist()
    return Estimate(value, low, high)
