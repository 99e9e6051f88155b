"""Word times, and features averaged over words. `words` holds the idea, `aligning` the stage, the others sources of times."""
