"""Plan as data what is due: sends, extractions, and the deployments of a site. Pure."""
