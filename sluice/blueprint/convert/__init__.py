"""Convert checked documents into the model's objects, with defaults merged in."""
