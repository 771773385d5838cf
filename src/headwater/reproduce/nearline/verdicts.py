"""What the paper claims, as questions, and what our arms say to them, in words: whether the shape comes out."""

from __future__ import annotations

from collections.abc import Callable

from headwater.reproduce.nearline.cells import NAMES, percent
from headwater.reproduce.nearline.found import Estimate, Found
from headwater.reproduce.nearline.plan import BASE, BESIDE, EVERYTHING, SEARCH
from headwater.reproduce.nearline.plan import RIVALS as RIVALS_ARM
from headwater.reproduce.nearline.tables import online_test, policy_arm, values_of
from headwater.reproduce.sheet import Cell, Sheet
from headwater.show import NOT_RUN
from headwater.simulation.measures import ALL

LONG = tuple(f"nearline/{name}" for name in ("mini_detail", "post_purchase", "main_search"))
SHORT = ("nearline/in_shop", "nearline/photo_search")
RIVALS = (ALL, "swing", "mind", "glare")


def verdicts(found: Found) -> Sheet:
    """One line for each claim; `not run` where an arm that it needs is missing."""
    asked = [
        ("Do mini-detail and main search hit more of what comes next than all channels, SWING, MIND and Glare?", _hits),
        ("Do the scenarios that are cut off at 20 give the least of what is exposed?", _least),
        ("Is what mini-detail, post-purchase and main search found bought more often than the rest?", _bought(LONG)),
        ("Is what photo search found bought the most often?", _photo),
        ("Is what in-shop found bought less often than the rest?", _less),
        ("Does a stream give more of what is exposed than a batch once a day?", _ablated("daily", "pvr")),
        ("Is what the stream gives bought more often?", _ablated("daily", "ctcvr")),
        ("Does the score give more of what is exposed than first in, first out?", _ablated("fifo", "pvr")),
        ("Is what the score gives bought more often than first in, first out?", _ablated("fifo", "ctcvr")),
        ("Does the score give more of what is exposed than chance?", _ablated("random", "pvr")),
        ("Is what the score gives bought more often than chance?", _ablated("random", "ctcvr")),
        ("Does PVR stay within 5% of itself for every alpha?", _stable),
        ("Is less bought where alpha is 200 or 500 than where it is 50?", _large_alpha),
        ("Are there more transactions with MNR than without?", _transactions),
        *_of_other_papers(found),
    ]
    lines = [[Cell(question), Cell(answer(found))] for question, answer in asked]
    return Sheet(
        f"Does the shape come out? {found.recipe}",
        ["question", "answer"],
        lines,
        ["“not sure”: the 95% interval of the difference holds 0"],
    )


def said(estimate: Estimate, *, expects_more: bool) -> str:
    """Yes, no, or not sure, of a relative difference."""
    if not estimate.is_sure:
        return f"not sure: {percent(estimate, is_relative=True)}"
    return f"{'yes' if (estimate.value > 0) == expects_more else 'no'}: {percent(estimate, is_relative=True)}"


def _hits(found: Found) -> str:
    arm = found.arm(EVERYTHING)
    if arm is None:
        return NOT_RUN
    rates = {name: rate for name in RIVALS if (rate := arm.figure(name, "hirate")) is not None}
    if not rates:
        return NOT_RUN
    best = max(rates, key=lambda name: rates[name].value)
    gains = {name: arm.against(name, "hirate", arm, best) for name in (LONG[0], SEARCH)}
    parts = [f"{NAMES[name]} {said(gain, expects_more=True)}" for name, gain in gains.items() if gain]
    return f"{'; '.join(parts)}; against the best of them, {NAMES[best]}"


def _least(found: Found) -> str:
    arm = found.arm(EVERYTHING)
    if arm is None:
        return NOT_RUN
    shares = {name: value.value for name in (*LONG, *SHORT) if (value := arm.figure(name, "pvr"))}
    if len(shares) < len(LONG) + len(SHORT):
        return NOT_RUN
    word = "yes" if max(shares[name] for name in SHORT) < min(shares[name] for name in LONG) else "no"
    return f"{word}: " + ", ".join(f"{NAMES[name]} {share:.1%}" for name, share in shares.items())


def _bought(channels: tuple[str, ...]):
    def answer(found: Found) -> str:
        arm = found.arm(EVERYTHING)
        if arm is None:
            return NOT_RUN
        gains = {name: arm.against(name, "ctcvr", arm, ALL) for name in channels}
        parts = [f"{NAMES[name]} {said(gain, expects_more=True)}" for name, gain in gains.items() if gain]
        return "; ".join(parts) or NOT_RUN

    return answer


def _photo(found: Found) -> str:
    arm = found.arm(EVERYTHING)
    if arm is None:
        return NOT_RUN
    rates = {name: rate.value for name in (*LONG, *SHORT) if (rate := arm.figure(name, "ctcvr"))}
    if SHORT[1] not in rates:
        return "nothing that it found was exposed"
    best = max(rates, key=lambda name: rates[name])
    gain = arm.against(SHORT[1], "ctcvr", arm, ALL)
    word = "yes" if best == SHORT[1] else f"no, {NAMES[best]}"
    return word + (f"; photo search {percent(gain, is_relative=True)} against all" if gain else "")


def _less(found: Found) -> str:
    arm = found.arm(EVERYTHING)
    gain = arm.against(SHORT[0], "ctcvr", arm, ALL) if arm else None
    return said(gain, expects_more=False) if gain else NOT_RUN


def _ablated(what: str, metric: str):
    """Of the base: whether it has more than the ablated arm."""

    def answer(found: Found) -> str:
        base, arm = found.arm(BASE), found.arm(f"{BASE}-{what}")
        gain = base.against(SEARCH, metric, arm, SEARCH) if base and arm else None
        return said(gain, expects_more=True) if gain else NOT_RUN

    return answer


def _stable(found: Found) -> str:
    shares = {}
    for alpha in values_of(found, "alpha"):
        arm = found.arm(policy_arm(found, "alpha", alpha))
        share = arm.figure(SEARCH, "pvr") if arm else None
        if share is not None:
            shares[alpha] = share.value
    if len(shares) < 2:
        return NOT_RUN
    spread = max(shares.values()) / min(shares.values()) - 1
    figures = ", ".join(f"{alpha}: {share:.2%}" for alpha, share in shares.items())
    return f"{'yes' if spread < 0.05 else 'no'}: {figures}"


def _large_alpha(found: Found) -> str:
    base, parts = found.arm(BASE), []
    for alpha in (200, 500):
        arm = found.arm(policy_arm(found, "alpha", alpha))
        gain = arm.against(SEARCH, "ctcvr", base, SEARCH) if arm and base else None
        if gain is not None:
            parts.append(f"{alpha} {said(gain, expects_more=False)}")
    return "; ".join(parts) or NOT_RUN


def _transactions(found: Found) -> str:
    differences = online_test(found, is_split=False)
    if not differences:
        return NOT_RUN
    one = next(one for one in differences if one.metric == "transactions")
    bought = next(one for one in differences if one.metric == "CTCVR")
    everywhere = said(Estimate(one.relative, one.low, one.high), expects_more=True)
    home = said(Estimate(bought.relative, bought.low, bought.high), expects_more=True)
    return f"in all scenarios {everywhere}; of what the homepage exposes {home}"


def _of_other_papers(found: Found) -> list[tuple[str, Callable[[Found], str]]]:
    """Of Paths and of Divide, where their arms are planned."""
    asked = []
    base, *rest = found.alternatives or [""]
    for name in rest:
        for metric, words in (("CTR", "clicked more often"), ("diversity", "more diverse")):
            asked.append((f"Is a homepage {words} with {name} than with {base}?", _tested(name, base, metric)))
    if any(job.arm.name == RIVALS_ARM for job in found.planned):
        asked.append(("Is what Divide found clicked more often than what ComiRec found?", _divide))
    return asked


def _tested(name: str, base: str, metric: str) -> Callable[[Found], str]:
    def answer(found: Found) -> str:
        one = found.tests(BESIDE + name, BESIDE + base).get(metric)
        return said(Estimate(one.relative, one.low, one.high), expects_more=True) if one else NOT_RUN

    return answer


def _divide(found: Found) -> str:
    gain = found.rival_gain("ctr")
    return said(gain, expects_more=True) if gain else NOT_RUN
