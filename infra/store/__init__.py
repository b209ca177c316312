"""The Distributor's store: contents, revisions and their locks."""
