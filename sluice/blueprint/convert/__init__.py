"""Convert checked documents into the model, with defaults merged in."""
