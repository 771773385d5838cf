"""Divide: items in clusters, one encoder prompted for each, quotas by intent (Zhang et al., WWW 2023)."""
