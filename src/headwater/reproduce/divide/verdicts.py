"""What the paper claims, as questions, and what our runs say to them, in words."""

from __future__ import annotations

from statistics import fmean

from headwater.reproduce.divide.found import Found
from headwater.reproduce.divide.plan import BASE, LATE, LOSSES, OURS
from headwater.reproduce.divide.published import TABLE_2
from headwater.reproduce.divide.tables import channel_under
from headwater.reproduce.sheet import Cell, Sheet
from headwater.show import NOT_RUN

LOSSES_SAID = {
    "bce": "binary cross-entropy against one negative",
    "sampled": "a softmax over 256 drawn negatives",
    "softmax": "a softmax over everything",
    "unseen-softmax": "a softmax over all that was not seen",
}
"""Of Divide, everything is the cluster."""


def verdicts(found: Found) -> Sheet:
    """One line for each question; `not run` where a run that it needs is missing."""
    lines = []
    for loss in LOSSES:
        base = channel_under(found, BASE, loss)
        for name, said in ((OURS, "Divide"), (LATE, "Divide with late prompts")):
            for k in found.ks[-2:]:
                asked = f"Is {said} ahead of the equally sized SASRec at R@{k}, both trained with {LOSSES_SAID[loss]}?"
                lines.append([Cell(asked), Cell(_ahead(found, channel_under(found, name, loss), base, k))])
    k = found.ks[-1]
    for other, asked in (
        ("divide-naive", f"Do prompts help, against the same encoder for all clusters (naive MTL), at R@{k}?"),
        ("divide-mmoe", f"Do prompts do as well as four experts (MMoE), at R@{k}?"),
    ):
        lines.append([Cell(asked), Cell(_ahead(found, OURS, other, k))])
    lines.append([Cell(f"Do quotas help plain SASRec, without prompts, at R@{k}?"), Cell(_quotas(found, k))])
    for loss in LOSSES:
        asked = (
            f"With quotas, is Divide with late prompts ahead of SASRec at R@{k}, both trained with {LOSSES_SAID[loss]}?"
        )
        lines.append([Cell(asked), Cell(_both_by_quotas(found, loss, k))])
    published = TABLE_2.get(found.recipe, {}).get("sasrec-original", {}).get(k)
    if published is not None:
        ours = found.recall("sasrec-original", "plain", k)
        said = (
            f"{fmean(ours):.4f}, {fmean(ours) / published:.2f} times the published {published:.3f}" if ours else NOT_RUN
        )
        lines.append([Cell(f"What does SASRec reach with the paper's settings, at R@{k}?"), Cell(said)])
    return Sheet(f"In words, {found.recipe}", ["question", "answer"], lines)


def _ahead(found: Found, ours: str | None, theirs: str | None, k: int) -> str:
    pair = [found.recall(name, "plain", k) if name else [] for name in (ours, theirs)]
    if not all(pair):
        return NOT_RUN
    return _compared(*map(fmean, pair)) + ("" if len(pair[0]) > 1 else "; one seed")


def _quotas(found: Found, k: int) -> str:
    merge = found.best_merge(BASE, k, among=lambda text: "alpha" in text)
    if merge is None:
        return NOT_RUN
    quotas, plain = (fmean(found.recall(BASE, name, k)) for name in (merge, "plain"))
    return f"{_compared(quotas, plain)} ({merge}, chosen on validation)"


def _both_by_quotas(found: Found, loss: str, k: int) -> str:
    """Each with the chances and the alpha that validation chooses."""
    figures, chosen = [], []
    for name in (LATE, BASE):
        channel = channel_under(found, name, loss)
        merge = found.best_merge(channel, k, among=lambda text: "alpha" in text) if channel else None
        if channel is None or merge is None:
            return NOT_RUN
        figures.append(fmean(found.recall(channel, merge, k)))
        chosen.append(merge)
    return f"{_compared(*figures)} ({' against '.join(chosen)}, chosen on validation)"


def _compared(ours: float, theirs: float) -> str:
    gain = ours / theirs - 1 if theirs else 0.0
    word = "about the same" if abs(gain) < 0.01 else "yes" if gain > 0 else "no"
    return f"{word}: {ours:.4f} against {theirs:.4f} ({gain:+.1%})"
