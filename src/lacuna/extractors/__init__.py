"""What a clip becomes: one file an extractor, each with `MODALITY`, `VERSION`, `Settings` and `Extractor`."""

from lacuna.params.plugins import own_folder

__path__.append(own_folder("extractors"))  # the user's own plug-ins
