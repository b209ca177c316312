"""Read the YAML files of a site into documents that know the file and line of everything in them."""
