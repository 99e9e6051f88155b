"""Which frames survive: one file a pattern, each with `survivors(sequence, draw) -> (T,) bool`.

A pattern sees times, `seen` and columns of a sequence, and the values of token ids; of other features the values are
zeros, because stage mask does not read them. Three things a pattern may add: `spoil(sequence, draw)`, where frames are
disturbed and not lost; `RATES = True`, where `draw.level` may be a column (L, 1) of rates and the answer (L, T), so
that a curve is drawn once; `survivors_together(draws, special_BT)`, for whole batches (see `mask.together`).
"""

from lacuna.params.plugins import own_folder

__path__.append(own_folder("patterns"))  # the user's own plug-ins
