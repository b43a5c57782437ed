"""What notebooks and the page show: tables, sentences, figures, cited records.

To add: what a notebook shows → one function in the module of its topic; a figure → a module in `figures`, with a table of the
same facts, and the notebook that shows it.
"""
