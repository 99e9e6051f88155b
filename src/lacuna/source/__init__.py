"""Stage source: for each stage, digests of the code that it runs and the settings that it reads, so that DVC knows."""
