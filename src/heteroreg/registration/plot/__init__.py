"""Figures of registrations."""

from heteroreg.system.matplotlib_backend import require_matplotlib

require_matplotlib()

from heteroreg.registration.plot.figure import plot_registration, plot_registrations  # noqa: E402

__all__ = ["plot_registration", "plot_registrations"]
