"""The ledger: append-only events and current state, on SQLAlchemy Core."""
