"""What the gateway is compared with: a FastAPI POST route that does nothing, served as the gateway is."""

import argparse

import uvloop
from fastapi import FastAPI

from cordum.runtime.http import HttpListener

app = FastAPI(openapi_url=None)


@app.post("/api/v1/jobs")
async def submit() -> dict[str, str]:
    """Answer without reading the body."""
    return {"status": "ok"}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(HttpListener(app, "127.0.0.1", parser.parse_args().port).serve())
