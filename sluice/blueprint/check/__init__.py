"""Check what needs the whole site, and give advice on a site without errors."""
