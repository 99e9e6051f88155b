"""One file a model, each with `Settings`, `TRAINING` and `Model`; what models share is in `parts`."""

from lacuna.params.plugins import own_folder

__path__.append(own_folder("models"))  # the user's own plug-ins
