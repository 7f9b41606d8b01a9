"""REST over Starlette: sessions, models, clients, plugins, live events, health."""

from fedk.admin.app import admin_app

__all__ = ["admin_app"]
