"""What runs on a Subscriber: small, self-contained, starts fast."""
