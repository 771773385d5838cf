"""Bazaar: a marketplace with known truth, in which channels, rankers and rollouts are tried on made-up users.

`world` makes items and users, `scenarios` the six surfaces, `play` runs them. What is true and hidden (tastes, quality,
intents) stands in `latents`, which neither rankers nor channels may import; a test asserts it.
"""
