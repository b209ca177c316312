"""What a blueprint may contain: kinds, keys and values, and each document checked on its own."""
