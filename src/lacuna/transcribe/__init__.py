"""Stage transcribe: the words of clips that came without them, heard by a speech recogniser."""
