"""Pure decisions on data and a given time."""
