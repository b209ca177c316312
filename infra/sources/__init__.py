"""Where Distributions come from: adapters of the Source port."""
