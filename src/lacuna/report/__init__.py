"""Stage report: one page of all data sets."""
