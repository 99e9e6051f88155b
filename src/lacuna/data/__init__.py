"""Data in memory: clips and features as samples, samples as batches."""
