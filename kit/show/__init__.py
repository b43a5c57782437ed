"""What notebooks and the page show: tables, sentences, figures, cited records.

To add: what a notebook shows → one function in the module of its topic; a figure → a function in `figures`, its notebook, and a table of
the same facts.
"""
