"""Video, sound and pictures: read, written, and decoded once for several readers. Out: what all rooms agree on."""

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")  # suffixes of still pictures, in order
RATE = 16000  # Hz, what speech models hear
PIXELS = 89_478_485  # of a picture or frame, a quarter of a GiB in RGB; more is refused before it is decoded
