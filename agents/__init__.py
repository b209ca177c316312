"""The agent: the program on a Subscriber. Small, self-contained, starts fast."""
