"""An answer for one video: its features made as a checkpoint's were, its scores, and a page to ask from."""
