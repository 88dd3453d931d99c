//! Sessions out of raw keys, under the rules that all sessions have.

use crate::support::gateway::TestGateway;
use crate::support::redis_door::TestRedisDoor;

/// What express-session with passport stores.
pub fn express(user: &str) -> String {
    format!(r#"{{"cookie":{{"originalMaxAge":60000}},"passport":{{"user":"{user}"}}}}"#)
}

pub fn bulk(value: &str) -> String {
    format!("${}\r\n{value}\r\n", value.len())
}

#[tokio::test]
async fn a_session_is_set_read_kept_alive_and_ended() {
    let gateway = TestGateway::new();
    let door = TestRedisDoor::open(&gateway);
    let mut client = door.connect();
    let value = express("u-1001");
    client.call("GET sess:1", "$-1\r\n");
    client.call(&format!("SET sess:1 {value} EX 60"), "+OK\r\n");
    client.call("GET sess:1", &bulk(&value));
    client.call("EXPIRE sess:1 120", ":1\r\n");
    client.call("TTL sess:1", ":120\r\n");
    client.call("TYPE sess:1", "+string\r\n");
    client.call("DBSIZE", ":1\r\n");
    client.call("INFO keyspace", &bulk("# Keyspace\r\ndb0:keys=1,expires=1,avg_ttl=0\r\n"));
    client.call("SCAN 0 MATCH sess:* COUNT 100", "*2\r\n$1\r\n0\r\n*1\r\n$6\r\nsess:1\r\n");
    client.call("DEL sess:1 sess:2", ":1\r\n");
    client.call("GET sess:1", "$-1\r\n");
    client.call("HSET h f 1", ":1\r\n");
    client.call("HGETALL h", "*2\r\n$1\r\nf\r\n$1\r\n1\r\n");
    client.call("GET h", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    client.call("MULTI", "+OK\r\n");
    client.call("SET a 1", "+QUEUED\r\n");
    client.call("GET a", "+QUEUED\r\n");
    client.call("EXEC", "*2\r\n+OK\r\n$1\r\n1\r\n");
    drop(client);
    door.close().await;
}
