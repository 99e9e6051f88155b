"""Which frames survive: one file a pattern, each with `survivors(sequence, draw) -> (T,) bool`."""
