"""What a Distributor does: build and sign, plan, queue, deliver, repair and predict.

Rules: nothing here knows Prefect, sockets or files of its own; it works through ``sluice.ports`` and talks to agents through
``sluice.sender``. Every operation may be killed at any point and repeated.

Leaves out: everything that runs on a Subscriber. May be imported by ``infra``, ``tasks``, ``flows`` and ``cli``; no agent bundle has it.
"""
