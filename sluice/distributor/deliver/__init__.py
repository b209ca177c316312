"""Deliver one Distribution to one Subscriber in one flow run: attempts, orders, receipts and the result."""
