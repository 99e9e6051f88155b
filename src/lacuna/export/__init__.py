"""Stage export: pickles that MMSA reads, and such pickles read back."""
