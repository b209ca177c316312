"""Hold tickets of the ledger's send queue: claims of Subscriber and Distribution, and one watch per process."""
