"""Knowledge of a super-domain for the rankers of its sub-domains (KEEP, Zhang et al., CIKM 2022).

`extract` and `decompose` learn it, the latter so that it is small enough to be kept; `plug` adds it to a model
that goes on as it was.
"""
