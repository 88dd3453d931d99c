# Rack::Session::Redis of redis-rack, with the user where Warden and Devise keep it.
require 'rack'
require 'rack/handler/webrick'
require 'redis-rack'

app = lambda do |env|
  session = env['rack.session']
  case env['PATH_INFO']
  when %r{\A/login/(.+)\z}
    env['rack.session.options'][:renew] = true
    session['warden.user.user.key'] = [[Regexp.last_match(1)], 'salt']
  when '/logout'
    session.destroy
    next [200, { 'Content-Type' => 'text/plain' }, ['bye']]
  end
  session['visits'] = (session['visits'] || 0) + 1
  user = session['warden.user.user.key']&.first&.first || '-'
  [200, { 'Content-Type' => 'text/plain' }, ["#{user} #{session['visits']}"]]
end

server = WEBrick::HTTPServer.new(BindAddress: '127.0.0.1', Port: 0, AccessLog: [], Logger: WEBrick::Log.new(nil, 0))
server.mount '/', Rack::Handler::WEBrick, Rack::Session::Redis.new(
  app, redis_server: { url: ENV.fetch('REDIS_URL'), namespace: 'rack:session' }, expire_after: 3600
)
puts "listening on #{server.listeners.first.addr[1]}"
$stdout.flush
server.start
