"""What Sluice does, written against the ports."""
