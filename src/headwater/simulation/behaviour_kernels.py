"""Compiled: what users do with a page. This reads what is true of items and users; nothing that ranks may."""

# pyright: basic
from __future__ import annotations

import math

import numpy as np

from headwater.nearline.kernels import compiled
from headwater.simulation.draws import BEGIN, BUY, CART, CLICK, DWELL, EXAMINE, LIFE, STYLE, normal, uniform

TASTE, INTENT, MATCH, QUALITY, PRICE, EXAMINATION, CART_LOGIT, BUY_LOGIT, BUY_INTENT, FOLLOW, DWELL_SECONDS, ON_CLICK, LIFE_MEDIAN, LIFE_SPREAD, ON_PURCHASE = range(15)  # fmt: skip  # noqa: E501
"""Places among the parameters of `look`."""


@compiled("f8(f8)")
def chance(logit):
    return 1.0 / (1.0 + math.exp(-logit))


@compiled()
def begin_intent(user, look, time, moment, seed, n_styles, look_vectors, median, spread, category, until, vectors):
    """Let the user want something of one look from now on: a direction near the look's own."""
    category[user] = look // n_styles
    life = median * math.exp(spread * normal(seed, LIFE, user, moment, 0))
    until[user] = time + np.int64(life) + 1
    total = 0.0
    d = vectors.shape[1]
    for at in range(d):
        value = look_vectors[look, at] + 0.35 * normal(seed, STYLE, user, moment, at) / math.sqrt(d)
        vectors[user, at] = value
        total += value * value
    for at in range(d):
        vectors[user, at] /= math.sqrt(total)


@compiled()
def search(
    begins, active, users, times, moments, seed, n_styles, look_vectors, median, spread, category, until, vectors, looks
):  # fmt: skip
    """Let those who `begins` marks want `looks` from now on; of the `active` ones put into `looks` what they want.

    A photo shows the style nearest to what is wanted; the words of a search name its category.
    """
    for row in range(len(users)):
        user = users[row]
        if begins[row]:
            begin_intent(
                user, looks[row], times[row], moments[row], seed, n_styles, look_vectors, median, spread,
                category, until, vectors,
            )  # fmt: skip
        elif active[row]:
            best = -2.0
            for style in range(n_styles):
                at = category[user] * n_styles + style
                product = 0.0
                for d in range(vectors.shape[1]):
                    product += look_vectors[at, d] * vectors[user, d]
                if product > best:
                    best = product
                    looks[row] = at


@compiled()
def look(
    seed, parameters, n_styles,
    users, scenarios, times, moments, offsets, shown, extra, click_logits,
    categories, looks, log_prices, vectors, quality, look_vectors, category_prices, complements,
    tastes, price_levels, sensitivities,
    intent_category, intent_until, intent_vectors,
    clicked, clicked_times, n_clicked,
    out_click, out_cart, out_buy, out_dwell, first_click, bought,
):  # fmt: skip
    """Go through each visit's page from its top.

    A shown item is examined with chance (1 + position)^-η. Its utility is that of the best-fitting taste, of the intent
    (category and direction), of quality, and of its price; `extra`, (m,), is added to the logit of its click alone. A
    click may be followed by a cart and by a purchase; a purchase of the intent's category ends the intent; a purchase
    may begin one of a category that goes with it, and a click without an intent one of its own look. Clicks are
    remembered in `clicked`, which is what rankers know. `first_click` and `bought`, (visits,), get an item or -1.
    """
    room = clicked.shape[1]
    d = vectors.shape[1]
    for row in range(len(users)):
        user, time, moment = users[row], times[row], moments[row]
        first_click[row] = -1
        bought[row] = -1
        for at in range(offsets[row], offsets[row + 1]):
            position = at - offsets[row]
            item = shown[at]
            out_click[at], out_cart[at], out_buy[at], out_dwell[at] = 0, 0, 0, 0
            examined = (1.0 + position) ** -parameters[EXAMINATION]
            # Examination belongs to the place, so that a better item at that place is seen by the same people.
            if uniform(seed, EXAMINE, user, moment, position) >= examined:
                continue
            taste = -1.0
            for nth in range(tastes.shape[1]):
                product = 0.0
                for at_d in range(d):
                    product += tastes[user, nth, at_d] * vectors[item, at_d]
                taste = max(taste, product)
            utility = parameters[TASTE] * taste + parameters[QUALITY] * quality[item]
            wanted = category_prices[categories[item]] + price_levels[user]
            utility -= parameters[PRICE] * sensitivities[user] * abs(log_prices[item] - wanted)
            is_wanted = intent_until[user] > time and intent_category[user] == categories[item]
            if is_wanted:
                product = 0.0
                for at_d in range(d):
                    product += intent_vectors[user, at_d] * vectors[item, at_d]
                utility += parameters[INTENT] + parameters[MATCH] * product
            if uniform(seed, CLICK, user, moment, item) >= chance(click_logits[scenarios[row]] + extra[at] + utility):
                continue
            out_click[at] = 1
            out_dwell[at] = parameters[DWELL_SECONDS] * math.exp(
                0.25 * utility + 0.8 * normal(seed, DWELL, user, moment, item)
            )
            slot = n_clicked[user] % room
            clicked[user, slot] = item
            clicked_times[user, slot] = time
            n_clicked[user] += 1
            if first_click[row] < 0:
                first_click[row] = item
            follows = parameters[FOLLOW] * utility + (parameters[BUY_INTENT] if is_wanted else 0.0)
            if uniform(seed, CART, user, moment, item) < chance(parameters[CART_LOGIT] + parameters[FOLLOW] * follows):
                out_cart[at] = 1
            if uniform(seed, BUY, user, moment, item) < chance(parameters[BUY_LOGIT] + follows):
                out_buy[at] = 1
                bought[row] = item
                if is_wanted:
                    intent_until[user] = 0
                draw = uniform(seed, BEGIN, user, moment, item)
                if draw < parameters[ON_PURCHASE]:
                    # What goes with it is wanted next, in any style.
                    many = complements.shape[1]
                    nth = min(np.int64(draw / parameters[ON_PURCHASE] * many), many - 1)
                    style = np.int64(uniform(seed, BEGIN, user, moment, -1 - item) * n_styles)
                    begin_intent(
                        user, complements[categories[item], nth] * n_styles + style, time, moment, seed, n_styles,
                        look_vectors, parameters[LIFE_MEDIAN], parameters[LIFE_SPREAD],
                        intent_category, intent_until, intent_vectors,
                    )  # fmt: skip
            elif intent_until[user] <= time and uniform(seed, BEGIN, user, moment, item) < parameters[ON_CLICK]:
                begin_intent(
                    user, looks[item], time, moment, seed, n_styles, look_vectors,
                    parameters[LIFE_MEDIAN], parameters[LIFE_SPREAD],
                    intent_category, intent_until, intent_vectors,
                )  # fmt: skip
