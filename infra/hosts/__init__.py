"""Subscribers as hosts: bundles of the agent, the administrator's login, bootstrap, check and removal.

    agent_bundle.py  makes and finds bundles
    host_program.py  runs on a host before there is an agent; standard library only; with it host_crontab.py and host_removal.py
    login.py         runs commands on a host as its account, and probes it
    bootstrap.py     installs agent, identity, keys, trust and recovery hook
    check.py         says what is missing, changing nothing
    removal.py       takes everything away again

Leaves out the conversation with an agent (``sluice/sender``) and the ways to a host (``infra/transports``).
"""
