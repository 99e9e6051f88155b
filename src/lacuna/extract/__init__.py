"""Stage extract: the features of every clip, each made once."""
