//! What a client may ask about the server.

use sessgate::doors::resp::frame::{Frame, Limits, Parser};
use sessgate::doors::resp::reply::{Protocol, Writer};
use sessgate::doors::resp::server::{self, About};

use super::{reply, request};
use crate::support::redis_server::RedisServer;

fn info(sections: &[&str]) -> String {
    let about = About {
        version: "1.2.3".to_owned(),
        store_id: "5a".to_owned(),
        process_id: 7,
        port: 6380,
        uptime_seconds: 90_000,
        databases: vec![(0, 3, 2), (5, 1, 0)],
        ..About::default()
    };
    let bytes = request(&[&["INFO"], sections].concat());
    let mut parser = Parser::new(Limits::default(), true);
    let Ok(Frame::Request { arguments, .. }) = parser.next(&bytes) else { panic!("a request") };
    let answer = reply(|to| server::info(to, &about, arguments.from(1)));
    let answer = String::from_utf8(answer).expect("it is text");
    let (head, text) = answer.split_once("\r\n").expect("a head");
    let text = text.strip_suffix("\r\n").expect("an end");
    assert_eq!(head, format!("${}", text.len()));
    text.to_owned()
}

#[test]
fn info_has_what_clients_look_for() {
    let all = info(&[]);
    for line in [
        "# Server",
        "redis_version:7.0.15",
        "redis_mode:standalone",
        "process_id:7",
        "tcp_port:6380",
        "store_id:5a",
        "uptime_in_days:1",
        "loading:0",
        "role:master",
        "cluster_enabled:0",
        "# Keyspace",
        "db0:keys=3,expires=2,avg_ttl=0",
        "db5:keys=1,expires=0,avg_ttl=0",
    ] {
        assert!(all.lines().any(|found| found == line), "{line} is not in\n{all}");
    }
    assert_eq!(info(&["Everything"]), all);
    assert_eq!(info(&["PERSISTENCE"]), "# Persistence\r\nloading:0\r\n");
    assert_eq!(info(&["cluster", "replication"]).matches("# ").count(), 2);
    assert_eq!(info(&["nothing"]), "");
}

#[test]
fn hello_is_answered_as_redis_server_does() {
    let server = RedisServer::start();
    for (protocol, version) in [(Protocol::Resp2, "2"), (Protocol::Resp3, "3")] {
        let answer = server.connect().exchange(&request(&["HELLO", version]), |answer| answer.ends_with(b"*0\r\n"));
        let answer = String::from_utf8(answer).expect("it is text");
        let id = answer.split("id\r\n:").nth(1).and_then(|rest| rest.split("\r\n").next()).expect("an id");
        let mut ours = Vec::new();
        server::hello(&mut Writer::new(&mut ours, protocol), id.parse().expect("a number"));
        assert_eq!(String::from_utf8_lossy(&ours), answer);
    }
}

#[test]
fn nothing_is_told_about_commands() {
    let bytes = request(&["COMMAND", "INFO", "get", "foo"]);
    let mut parser = Parser::new(Limits::default(), true);
    let Ok(Frame::Request { arguments, .. }) = parser.next(&bytes) else { panic!("a request") };
    assert_eq!(reply(|to| server::command_info(to, arguments.from(2))), b"*2\r\n*-1\r\n*-1\r\n");
    assert_eq!(reply(server::command_count), b":53\r\n");
}
