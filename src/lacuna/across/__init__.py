"""Stage across: models of one data set judged on the test split of another with the same columns."""
