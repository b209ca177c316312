"""Signed metadata, orders and receipts: publishing and verifying."""
