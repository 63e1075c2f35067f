"""The web interface: pages rendered by the service itself, which work without JavaScript and are live with it.

Nothing is loaded from elsewhere: scripts and styles lie beside the templates (`static/`, others' work in
`static/vendor/`). Pages keep to the policy `default-src 'self'`, so there is no script or style within them.
"""

from __future__ import annotations

from hamfit_service.web.routing import router

__all__ = ["router"]
