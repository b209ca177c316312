"""Read the YAML files of a site into documents that know where everything in them stands."""
