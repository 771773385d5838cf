"""The networks of the ranking stage, in torch; what serves requests is made of their weights and needs none."""
