"""Where work is done: worker processes, Ray, several GPUs, and the device of a tensor."""
