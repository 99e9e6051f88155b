"""What the command line does beside the stages."""
