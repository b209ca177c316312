"""Prefect: its embedded server, and a site's deployments, pools and automation on a server (``plan``, ``apply``)."""
