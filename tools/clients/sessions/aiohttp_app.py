"""aiohttp-session, with the key that aiohttp-security keeps the user under."""

import asyncio
import os

from aiohttp import web
from aiohttp_session import get_session, setup
from aiohttp_session.redis_storage import RedisStorage
from redis.asyncio import Redis


async def login(request: web.Request) -> web.Response:
    (await get_session(request))["AIOHTTP_SECURITY"] = request.match_info["user"]
    return await me(request)


async def me(request: web.Request) -> web.Response:
    session = await get_session(request)
    session["visits"] = session.get("visits", 0) + 1
    return web.Response(text=f"{session.get('AIOHTTP_SECURITY', '-')} {session['visits']}")


async def logout(request: web.Request) -> web.Response:
    (await get_session(request)).invalidate()
    return web.Response(text="bye")


async def main() -> None:
    app = web.Application()
    setup(app, RedisStorage(Redis.from_url(os.environ["REDIS_URL"]), max_age=3600))
    app.add_routes([web.get("/login/{user}", login), web.get("/me", me), web.get("/logout", logout)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"listening on {runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
