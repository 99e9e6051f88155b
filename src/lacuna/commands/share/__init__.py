"""Models and features for others: a model hub, cards that say what a model is, and Parquet."""
