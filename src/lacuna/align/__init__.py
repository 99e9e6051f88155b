"""Word times, and features averaged over words: `words` has the idea, `aligning` the stage, the rest find times."""
