"""The documents of a new site, as ``sluice init`` writes them."""
