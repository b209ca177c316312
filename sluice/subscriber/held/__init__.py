"""Everything that a Subscriber has: a Distribution's directory and status, its ``.ted`` files, supplements and extracted tree."""
