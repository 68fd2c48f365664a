"""Pages to read in a browser: a self-contained index.html for each report, each tuning, and the folder of all reports.

A page asks for nothing over a network. Its figures are SVG, drawn from the artists of the report's figure. It is
readable without its script, which sorts tables, shows the seeds behind a number, and chooses methods and axes.
"""

NAME = "index.html"
"""The name of every page, so that the address of a folder is the address of its page."""
