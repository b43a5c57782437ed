"""The case report: notebooks run headless and become one HTML file. What they show comes from the room `show`.

The only importer of papermill and nbconvert, which only kit.report.run and kit.report.page load, when they are used.
"""

from kit.report.run import make_report

__all__ = ["make_report"]
