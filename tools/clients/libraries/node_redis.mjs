// node-redis: what session stores call of it, in RESP2 and in RESP3.
import assert from 'node:assert/strict'
import { createClient } from 'redis'

for (const RESP of [2, 3]) {
  const client = createClient({ url: process.env.REDIS_URL, RESP })
  await client.connect()
  const key = `node-redis:${RESP}`
  assert.equal(await client.get(key), null)
  assert.equal(await client.set(key, 'value ✓', { expiration: { type: 'EX', value: 60 } }), 'OK')
  assert.equal(await client.get(key), 'value ✓')
  assert.equal(await client.set(key, 'other', { condition: 'NX' }), null)
  assert.equal(await client.expire(key, 100), 1)
  assert.ok([99, 100].includes(await client.ttl(key)))
  assert.deepEqual(await client.mGet([key, 'nothing']), ['value ✓', null])
  assert.equal(await client.hSet(`${key}:h`, { user: 'ada', n: '1' }), 2)
  assert.equal(await client.hIncrBy(`${key}:h`, 'n', 41), 42)
  assert.deepEqual({ ...(await client.hGetAll(`${key}:h`)) }, { user: 'ada', n: '42' })
  const [set, got] = await client.multi().set(key, 'in a transaction').get(key).exec()
  assert.deepEqual([set, got], ['OK', 'in a transaction'])
  const found = []
  for await (const keys of client.scanIterator({ MATCH: `${key}*`, COUNT: 100 })) found.push(...keys)
  assert.deepEqual(found.sort(), [key, `${key}:h`])
  const listener = client.duplicate()
  await listener.connect()
  const heard = new Promise(resolve => listener.pSubscribe('__keyevent@*__:del', resolve))
  await listener.ping()
  assert.equal(await client.del([key, `${key}:h`]), 2)
  assert.ok((await heard).startsWith(key))
  await Promise.all(Array.from({ length: 100 }, (_, n) => client.set(`${key}:${n}`, `${n}`, { expiration: { type: 'PX', value: 60_000 } })))
  assert.deepEqual(await Promise.all(Array.from({ length: 100 }, (_, n) => client.get(`${key}:${n}`))), Array.from({ length: 100 }, (_, n) => `${n}`))
  listener.destroy()
  await client.close()
}
console.log('node-redis: fine')
