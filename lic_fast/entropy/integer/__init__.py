"""The entropy path of a portable model: modules that compute the same on every machine."""
