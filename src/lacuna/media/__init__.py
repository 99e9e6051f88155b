"""Video, sound and pictures: read, written, and decoded once for several readers."""
