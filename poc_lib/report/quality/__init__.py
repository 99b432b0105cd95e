"""The sections about single answers: accuracy, image confusion, health, and the answers themselves."""

from poc_lib.report.quality.accuracy import accuracy_section
from poc_lib.report.quality.confusion import confusion_section
from poc_lib.report.quality.gallery import samples_section
from poc_lib.report.quality.health import health_section

__all__ = ["accuracy_section", "confusion_section", "health_section", "samples_section"]
