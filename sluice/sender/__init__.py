"""Send to one agent: the work of every sender, the Distributor and later a parent Subscriber.

Frames, hello, the conversation, uploads, the choice of the ``.ted``, the supplement of missing contents, and one transfer made of them.

Rules: the agent is treated as hostile. Everything is repeatable, and goes on from the bytes on the Subscriber's disk. A pause between two
blocks is asked for through a small protocol.

Leaves out: keys, the ledger, the send queue, retry. May be imported by ``sluice.distributor`` and everything above it, not by
``sluice.subscriber``.
"""
