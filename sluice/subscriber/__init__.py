"""The Subscriber's side: receive, hold, complete and extract revisions, and run their actions.

Rules: everything that arrives is hostile until its signature and digests fit. Nothing outside the working directory changes but through
the Filesystem port, under a journal. After a kill at any point, the next start finishes or undoes.

Leaves out: the wire (``agents``) and everything of a Distributor. May be imported by ``agents`` alone; it imports neither
``sluice.sender`` nor ``sluice.distributor``.
"""
