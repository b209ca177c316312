"""Sources of Distributions: adapters of the Source port."""
