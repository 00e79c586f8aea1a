"""All that knows Microsoft: Mail → Graph message, credentials and tokens, one HTTP client, what answers mean.

httpx, tenacity and msal are imported here and nowhere else.
"""
