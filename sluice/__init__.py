"""The domain: model, rules, formats, trust and operations. No Prefect and no sockets; imports nothing, so that the agent starts fast."""
