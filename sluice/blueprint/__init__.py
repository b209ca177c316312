"""YAML (with sandboxed Jinja2 values) in, validated model out; the only reader of YAML."""
