"""Bytes in, bytes out: manifest, delta, the .ted file and the frames of the agent protocol."""
