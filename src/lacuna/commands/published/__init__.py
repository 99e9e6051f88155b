"""Checkpoints of published code: one file a model, each with `rename(state)` and `describe(state)`.

`rename` maps the authors' names to ours, one tensor to one tensor, so it also maps gradients; what is never read
(BERT's pooler) is left out. `describe` reads (settings, spec) off the shapes, as keyword
arguments of Settings and InputSpec.
"""
