// ioredis, as koa-redis brings it.
import assert from 'node:assert/strict'
import Redis from 'ioredis'

const client = new Redis(process.env.REDIS_URL)
const key = 'ioredis'
assert.equal(await client.setex(key, 60, 'value'), 'OK')
assert.equal(await client.get(key), 'value')
assert.deepEqual(await client.pipeline().get(key).pttl('nothing').exists(key, key).exec(), [[null, 'value'], [null, -2], [null, 2]])
assert.deepEqual(await client.multi().hset(`${key}:h`, 'f', '1').hgetall(`${key}:h`).exec(), [[null, 1], [null, { f: '1' }]])
await assert.rejects(client.get(`${key}:h`), /WRONGTYPE/)
await client.watch(key)
const other = client.duplicate()
await other.set(key, 'changed')
assert.equal(await client.multi().set(key, 'too late').exec(), null)
assert.equal(await client.get(key), 'changed')
const found = []
for await (const keys of client.scanStream({ match: `${key}*` })) found.push(...keys)
assert.deepEqual([...new Set(found)].sort(), [key, `${key}:h`])
assert.equal(await client.rename(key, `${key}:new`), 'OK')
assert.equal(await client.del(`${key}:new`, `${key}:h`), 2)
other.disconnect()
await client.quit()
console.log('ioredis: fine')
