"""Layouts of raw data: one file a layout, each with `LOOKED_FOR`, `matches` and `read`."""

from lacuna.params.plugins import own_folder

__path__.append(own_folder("datasets"))  # the user's own plug-ins
