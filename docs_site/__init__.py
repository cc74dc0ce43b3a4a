"""The documentation as a static site: ``python -m docs_site``, or ``make docs``.

The pages are the Markdown files of this repository, as they are read there too. What the site adds
is made here: links that leave ``docs`` lead to pages as well, diagrams become pictures, and the
reference is filled in from docstrings and from the JSON Schema of the pipeline file.
"""
