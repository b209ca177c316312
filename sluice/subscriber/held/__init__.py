"""What a Subscriber has: the directory of a Distribution, its status, ``.ted`` files, supplements and the extracted tree."""
