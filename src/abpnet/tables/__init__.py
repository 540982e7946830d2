"""Tables with missing cells: numbers, counts, grades and categories in one generator network."""

from abpnet.tables.imputer import TableImputer

__all__ = ["TableImputer"]
