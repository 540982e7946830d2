"""Generator networks learned by alternating back-propagation from complete, incomplete or indirect data."""

import lazy_loader

__version__ = "0.1.0"
# What is public stands in `__init__.pyi`; `import abpnet` takes no time, its first use as long as torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
