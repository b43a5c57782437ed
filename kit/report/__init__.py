"""The case report: notebooks run headless and become one HTML file. What they show comes from the room `show`.

The only importer of papermill and nbconvert, which only kit.report.run and kit.report.page load, when they are used.
"""

from kit.report.decision import make_summary
from kit.report.printed import print_pdf, printing_browser
from kit.report.run import make_report

__all__ = ["make_report", "make_summary", "print_pdf", "printing_browser"]
