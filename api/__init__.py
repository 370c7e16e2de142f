"""Serves. The only home of aiohttp."""
