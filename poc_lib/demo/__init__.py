"""The embedded demo data: an Escribano database of a synthetic working day, with its screenshots."""

from poc_lib.demo.prepare import DemoData, prepare_demo

__all__ = ["DemoData", "prepare_demo"]
