"""The ``.ted`` file: its frames, its index, the recipe of a delta, and reading and writing the whole."""
