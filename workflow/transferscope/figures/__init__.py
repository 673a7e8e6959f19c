"""The figures of a study: tables in, SVG and PNG out."""
