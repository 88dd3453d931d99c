// @fastify/session, stored by connect-redis through node-redis.
import Fastify from 'fastify'
import cookie from '@fastify/cookie'
import session from '@fastify/session'
import { RedisStore } from 'connect-redis'
import { createClient } from 'redis'

const client = createClient({ url: process.env.REDIS_URL })
await client.connect()
const app = Fastify()
app.register(cookie)
app.register(session, {
  secret: 'only an example, and long enough for one',
  cookie: { secure: false, maxAge: 3_600_000 },
  store: new RedisStore({ client, prefix: 'fastify:' })
})
const me = (request) => {
  request.session.visits = (request.session.visits ?? 0) + 1
  return `${request.session.user?.id ?? '-'} ${request.session.visits}`
}
app.get('/login/:user', async (request) => {
  await request.session.regenerate(['visits'])
  request.session.user = { id: request.params.user }
  return me(request)
})
app.get('/me', async (request) => me(request))
app.get('/logout', async (request) => {
  await request.session.destroy()
  return 'bye'
})
await app.listen({ host: '127.0.0.1', port: 0 })
console.log(`listening on ${app.server.address().port}`)
