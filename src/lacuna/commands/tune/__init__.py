"""Settings of a model found by trials on validation: `lacuna tune`."""
