//! The `redis` crate, as Rust's session stores use it.

use std::collections::HashMap;

use redis::{Client, Commands, Connection, Pipeline, RedisResult};

use crate::support::gateway::TestGateway;
use crate::support::redis_door::TestRedisDoor;

fn use_it(connection: &mut Connection, key: &str) -> RedisResult<()> {
    assert_eq!(connection.get::<_, Option<String>>(key)?, None);
    connection.set_ex::<_, _, ()>(key, r#"{"user_id":"u-1"}"#, 60)?;
    assert_eq!(connection.get::<_, String>(key)?, r#"{"user_id":"u-1"}"#);
    assert!(connection.expire::<_, bool>(key, 120)?);
    assert_eq!(connection.ttl::<_, i64>(key)?, 120);
    assert!(!connection.set_nx::<_, _, bool>(key, "another")?);
    let hash = format!("{key}:hash");
    connection.hset_multiple::<_, _, _, ()>(&hash, &[("a", 1), ("b", 2)])?;
    let fields: HashMap<String, i64> = connection.hgetall(&hash)?;
    assert_eq!(fields, HashMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]));
    let (set, sum): (String, i64) =
        Pipeline::new().atomic().set(key, "in a transaction").hincr(&hash, "a", 41).query(connection)?;
    assert_eq!((&set[..], sum), ("OK", 42));
    let mut names: Vec<String> = connection.scan_match(format!("{key}*"))?.collect::<RedisResult<_>>()?;
    names.sort();
    assert_eq!(names, [key.to_owned(), hash.clone()]);
    assert_eq!(connection.get::<_, String>(&hash).unwrap_err().code(), Some("WRONGTYPE"));
    connection.rename::<_, _, ()>(key, format!("{key}:new"))?;
    assert_eq!(connection.del::<_, u64>(&[format!("{key}:new"), hash])?, 2);
    assert_eq!(connection.exists::<_, u64>(key)?, 0);
    Ok(())
}

#[tokio::test]
async fn it_works_in_both_protocols_with_and_without_a_password() {
    let gateway = TestGateway::new();
    for access in [None, Some(("app", "s3cret"))] {
        let door = TestRedisDoor::with(&gateway, access, sessgate::doors::resp::door::limits());
        let (address, login) = (door.address(), access.map_or(String::new(), |(user, word)| format!("{user}:{word}@")));
        for protocol in ["", "?protocol=resp3"] {
            // What was deleted a moment ago stays so for those who do not know.
            let key = format!("crate{protocol}{login}");
            let url = format!("redis://{login}{address}/3{protocol}");
            let used = tokio::task::spawn_blocking(move || {
                let mut connection = Client::open(url)?.get_connection()?;
                use_it(&mut connection, &key)
            });
            used.await.expect("no panic").expect("every answer is understood");
        }
        door.close().await;
    }
}
