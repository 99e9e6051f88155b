"""Stage mask: which frames are lost, drawn from seeds."""
