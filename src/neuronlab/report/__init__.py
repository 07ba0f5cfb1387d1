"""The page of a sweep: one file with every table and figure, readable without a network."""
