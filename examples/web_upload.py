"""A server of your own between the public and the API: it keeps the key. Needs starlette and uvicorn.

python examples/web_upload.py 8080      then: curl --data-binary @dog.jpg http://127.0.0.1:8080/
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from client import ApiError, AsyncClient, ClientError, PhotoError

MAX_BYTES = 20_000_000


@asynccontextmanager
async def client(app: Starlette) -> AsyncIterator[dict[str, AsyncClient]]:
    """One client for all requests, as long as the server lives."""
    async with AsyncClient() as found:
        yield {"client": found}


async def label(request: Request) -> JSONResponse:
    """The labels of the photo that is the body, or the API's own words on why there are none."""
    if int(request.headers.get("content-length", MAX_BYTES + 1)) > MAX_BYTES:
        return JSONResponse({"code": "too_large", "detail": "The photo is larger than 20 MB."}, 413)
    try:
        outcome = await request.state.client.classify(await request.body())
    except ClientError as error:
        status = error.status if isinstance(error, ApiError) else 400 if isinstance(error, PhotoError) else 502
        return JSONResponse({"code": error.code, "detail": error.detail, "hint": error.hint}, status)
    return JSONResponse(outcome.to_dict())


app = Starlette(routes=[Route("/", label, methods=["POST"])], lifespan=client)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]))
