"""Predict what sends cost before anything is sent (C11): the sender's own code against a simulated agent."""
