"""The HTTP server: routes over a bundle and its galleries.

The doors are `server.app.create_app` and `server.run.serve`.

Nothing here knows torch; nothing below `server/errors.py` and the routes knows HTTP.
"""
