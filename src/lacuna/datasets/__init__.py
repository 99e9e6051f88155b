"""Layouts of raw data: one file a layout, each with `LOOKED_FOR`, `matches` and `read`."""
