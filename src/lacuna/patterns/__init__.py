"""Which frames survive: one file a pattern, each with `survivors(sequence, draw) -> (T,) bool`."""

from lacuna.params.plugins import own_folder

__path__.append(own_folder("patterns"))  # the user's own plug-ins
