"""A bazaar's test as a page: what two arms came to, hour by hour, and one user's day."""
