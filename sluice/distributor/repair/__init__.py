"""Find damage in a Distributor's store and repair it (E4)."""
