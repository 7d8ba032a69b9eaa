"""The version of lic_fast as it was installed, which takes a while to find out."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]

try:
    __version__ = version("lic_fast")
except PackageNotFoundError:  # imported from a checkout that was not installed
    __version__ = "0+unknown"
