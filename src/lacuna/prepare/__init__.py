"""Stage prepare: what lies in raw/<dataset> becomes clips, and rejects with reasons."""
