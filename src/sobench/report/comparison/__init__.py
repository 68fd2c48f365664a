"""Comparisons of methods over many problems: which is faster to a target, and how sure that is.

runs --selection--> Study --analysis--> numbers on each axis --verdict, page, figure--> what people read
"""
