"""The browser page and its server: live views, visitors' own webcams, uploads, REST and WebSocket API (docs/api.md).

Everything here runs on one event loop that never computes: the model, codecs and files work in threads.
"""
