"""Check, run, stop and rehearse pre and post actions (F3 to F9). Leaves out the journal: ``sluice.subscriber.extract`` keeps it."""
