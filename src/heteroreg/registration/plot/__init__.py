"""Figures of registrations."""

from heteroreg.registration.plot.figure import plot_registration, plot_registrations

__all__ = ["plot_registration", "plot_registrations"]
