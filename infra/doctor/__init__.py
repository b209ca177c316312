"""``sluice doctor`` looks: one file for each thing. Nothing is changed; what is found is judged by ``sluice/rules/diagnosis.py``."""
