"""Files of ours on disk: features (HDF5), pickles, and the cache of what one clip cost."""
