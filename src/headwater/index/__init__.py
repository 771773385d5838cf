"""Search among vectors: exact below about 100,000 items, approximate above. A leaf: it knows arrays only.

Importing this package loads neither torch nor faiss.
"""
