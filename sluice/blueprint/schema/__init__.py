"""Say what a blueprint may contain (kinds, keys and values), and check each document by itself."""
