"""redis-py: in both protocols, with its pool, pipelines, locks and subscriptions."""

import os

import redis

for protocol in (2, 3):
    client = redis.Redis.from_url(os.environ["REDIS_URL"], protocol=protocol)
    key = f"redis-py:{protocol}"
    assert client.get(key) is None
    assert client.set(key, b"\x00\xff value", ex=60) is True
    assert client.get(key) == b"\x00\xff value"
    assert client.set(key, "x", nx=True) is None
    assert client.set(key, "new", xx=True, keepttl=True, get=True) == b"\x00\xff value"
    assert 59 <= client.ttl(key) <= 60
    assert client.getex(key, persist=True) == b"new" and client.ttl(key) == -1
    assert client.hset(f"{key}:h", mapping={"user": "ada", "n": 1}) == 2
    assert client.hgetall(f"{key}:h") == {b"user": b"ada", b"n": b"1"}
    with client.pipeline() as pipe:
        pipe.watch(key)
        pipe.multi()
        pipe.set(key, "1").expire(key, 100).get(key)
        assert pipe.execute() == [True, True, b"1"]
    assert sorted(client.scan_iter(match=f"{key}*")) == [key.encode(), f"{key}:h".encode()]
    assert client.type(f"{key}:h") == b"hash" and client.dbsize() >= 2
    assert client.info("server")["redis_version"].startswith("7.")
    for _ in range(2):
        with client.lock(f"{key}:lock", timeout=20) as lock:
            assert not client.lock(f"{key}:lock").acquire(blocking=False)
            assert lock.extend(10) and 29 <= client.ttl(lock.name) <= 30
            assert lock.extend(15, replace_ttl=True) and 14 <= client.ttl(lock.name) <= 15
            assert lock.reacquire() and 19 <= client.ttl(lock.name) <= 20
        assert not client.exists(lock.name)
    listener = client.pubsub()
    listener.psubscribe("__keyevent@*__:del")
    assert listener.get_message(timeout=10)["type"] == "psubscribe"
    assert client.delete(key, f"{key}:h") == 2
    message = listener.get_message(timeout=10)
    assert message["data"] == key.encode(), message
    listener.close()
    try:
        client.execute_command("FLUSHALL")
    except redis.ResponseError as error:
        assert "unknown command" in str(error)
    else:
        raise AssertionError("FLUSHALL is not to be had here")
    client.close()
print("redis-py: fine")
