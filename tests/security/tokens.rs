//! Tokens: unguessable, never shown, dead when their session is.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sessgate::config::settings::{HookUrl, Secret, Settings};
use sessgate::gateway::api::{CreateRequest, Created, GatewayError, Slide};
use sessgate::session::{OsGenerator, SessionKey, Token, UserName};
use sessgate::store::{Update, Whom};

use crate::support::gateway::TestGateway;

const MINUTE: Duration = Duration::from_secs(60);
const CANARY: &str = "CANARY-in-the-data";

async fn create(gateway: &TestGateway, change: impl FnOnce(&mut CreateRequest)) -> Created {
    let user = UserName::new("ann").ok();
    let mut request = CreateRequest { user, data: CANARY.as_bytes().into(), ..CreateRequest::default() };
    change(&mut request);
    gateway.gateway.create(request).await.expect("there is room")
}

/// Everything that a token can be used for says that there is no such session.
#[track_caller]
fn assert_dead(gateway: &TestGateway, key: SessionKey) -> impl Future<Output = ()> {
    let gateway = gateway.gateway.clone();
    async move {
        let gone = |error: Option<GatewayError>, call: &str| {
            assert!(matches!(error, Some(GatewayError::NotFound)), "{call}: {error:?}");
        };
        gone(gateway.look_up(key, Slide::Touch).await.err(), "look-up");
        gone(gateway.look_up(key, Slide::Peek).await.err(), "peek");
        gone(gateway.touch(key).await.err(), "touch");
        gone(gateway.update(key, Box::from(&b"1"[..]), None).await.err(), "update");
        gone(gateway.rotate(key).await.err(), "rotate");
        assert!(gateway.revoke(key).await.is_ok(), "to end it again is no error");
        gone(gateway.look_up(key, Slide::Peek).await.err(), "look-up after all that");
    }
}

#[test]
fn a_million_tokens_are_all_different() {
    let mut keys: Vec<SessionKey> = (0..1_000_000).map(|_| Token::mint(&OsGenerator).key()).collect();
    keys.sort_unstable();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn each_of_256_bits_is_a_coin_toss() {
    const TOKENS: u32 = 20_000;
    let mut ones = [0_u32; 256];
    for _ in 0..TOKENS {
        let token = Token::mint(&OsGenerator);
        let bytes = URL_SAFE_NO_PAD.decode(token.expose().strip_prefix("sg_").expect("it is ours")).expect("base64url");
        assert_eq!(bytes.len(), 32);
        for (place, count) in ones.iter_mut().enumerate() {
            *count += u32::from(bytes[place / 8] >> (place % 8) & 1);
        }
    }
    // Seven standard deviations of a fair coin: a sound generator fails once in a billion runs.
    let tolerance = 7.0 * f64::from(TOKENS).sqrt() / 2.0;
    for (bit, count) in ones.into_iter().enumerate() {
        assert!((f64::from(count) - f64::from(TOKENS) / 2.0).abs() < tolerance, "bit {bit} was set {count} times");
    }
}

#[tokio::test]
async fn only_the_very_token_opens_its_session() {
    let gateway = TestGateway::new();
    let created = create(&gateway, |_| {}).await;
    let token = created.token.expose();
    let opens = async |text: &str| match SessionKey::from_presented(text.as_bytes()) {
        Some(key) => gateway.gateway.look_up(key, Slide::Peek).await.is_ok(),
        None => false,
    };
    assert!(opens(token).await);
    // The last character stands for four bits; those who decode it leniently take four spellings of one token.
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        let other = format!("{}{last}", &token[..token.len() - 1]);
        assert_eq!(opens(&other).await, other == token, "{last}");
    }
    for place in [0, 3, 20] {
        let mut other = token.as_bytes().to_vec();
        other[place] = if other[place] == b'A' { b'B' } else { b'A' };
        assert!(!opens(std::str::from_utf8(&other).expect("ASCII")).await, "{place}");
    }
    assert!(!opens(&token.to_uppercase()).await && !opens(&format!("{token}=")).await);
}

#[tokio::test]
async fn idle_and_absolute_deadlines_hold_at_the_read_without_any_sweep() {
    for (idle, absolute, step, alive) in
        [(10 * MINUTE, None, 11 * MINUTE, 0), (10 * MINUTE, Some(30 * MINUTE), 9 * MINUTE, 3)]
    {
        for from_memory in [true, false] {
            let gateway = TestGateway::new();
            let own = |request: &mut CreateRequest| {
                (request.idle_timeout, request.absolute_timeout) = (Some(idle), absolute);
            };
            let created = create(&gateway, own).await;
            let key = created.token.key();
            for _ in 0..alive {
                gateway.clock.advance(step);
                gateway.gateway.touch(key).await.expect("it is used often enough");
            }
            gateway.clock.advance(step);
            if !from_memory {
                gateway.forget();
            }
            assert!(matches!(gateway.gateway.find(created.view.entry.session.id).await, Err(GatewayError::NotFound)));
            assert_dead(&gateway, key).await;
        }
    }
}

#[tokio::test]
async fn sessions_are_revoked_by_token_by_handle_and_by_user_and_stay_dead() {
    let gateway = TestGateway::new();
    let other = create(&gateway, |request| request.user = UserName::new("bob").ok()).await;
    for way in ["token", "handle", "user"] {
        let sessions = [create(&gateway, |_| {}).await, create(&gateway, |_| {}).await];
        let ended = &sessions[..if way == "user" { 2 } else { 1 }];
        // Used just now: what is remembered of the use must not bring it back when it is saved.
        gateway.clock.advance(MINUTE);
        for session in &sessions {
            gateway.gateway.touch(session.token.key()).await.expect("it lives");
        }
        match way {
            "token" => gateway.gateway.revoke(sessions[0].token.key()).await.expect("it ends"),
            "handle" => {
                assert!(gateway.gateway.revoke_id(sessions[0].view.entry.session.id).await.expect("it ends"));
            }
            _ => {
                let user = UserName::new("ann").expect("a name");
                assert!(gateway.gateway.revoke_user(user).await.expect("they end") >= 2);
            }
        }
        gateway.clock.advance(MINUTE);
        gateway.gateway.sweep().await;
        for session in ended {
            assert_dead(&gateway, session.token.key()).await;
            gateway.forget();
            assert_dead(&gateway, session.token.key()).await;
        }
        for session in &sessions[ended.len()..] {
            assert!(gateway.gateway.look_up(session.token.key(), Slide::Peek).await.is_ok(), "{way}: the other lives");
        }
    }
    assert!(gateway.gateway.look_up(other.token.key(), Slide::Peek).await.is_ok(), "another user's session lives");
}

#[tokio::test]
async fn rotation_kills_the_old_token_at_once() {
    let gateway = TestGateway::new();
    let created = create(&gateway, |_| {}).await;
    let (token, view) = gateway.gateway.rotate(created.token.key()).await.expect("it lives");
    assert_eq!(view.entry.session.id, created.view.entry.session.id);
    assert_ne!(token.expose(), created.token.expose());
    assert_dead(&gateway, created.token.key()).await;
    gateway.forget();
    assert_dead(&gateway, created.token.key()).await;
    assert!(gateway.gateway.look_up(token.key(), Slide::Peek).await.is_ok());
}

#[tokio::test]
async fn nothing_shows_a_secret_or_data_when_it_is_printed_for_debugging() {
    let gateway = TestGateway::new();
    let created = create(&gateway, |_| {}).await;
    let key = created.token.key();
    let mut settings = Settings::default();
    settings.listen.api_key = Some(Secret::new(CANARY.into()));
    let stored = gateway.store.load(key).await.expect("the store answers").expect("it is there");
    let user = UserName::new("CANARY-user").expect("a name");
    let request =
        CreateRequest { user: Some(user.clone()), data: CANARY.as_bytes().into(), ..CreateRequest::default() };
    let update = Update {
        key,
        data: CANARY.as_bytes().into(),
        if_revision: None,
        now: stored.last_activity,
        capacity: sessgate::session::Capacity::default(),
    };
    let shown = [
        format!("{:?} {:?} {:?}", created.token, key, created),
        format!("{:?} {:?}", created.view, created.view.entry),
        format!("{stored:?} {stored:#?}"),
        format!("{request:?}"),
        format!("{update:?}"),
        format!("{:?} {user:?}", Whom::User(user.clone())),
        format!("{settings:?}"),
        format!("{:?}", HookUrl::new("http://h/CANARY", "http://h/${HOOK}")),
    ]
    .join("\n");
    let list = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for secret in [
        "CANARY".to_owned(),
        list(b"CANARY"),
        list(b"CANARY").replace(", ", ",\n    "),
        created.token.expose()[3..].to_owned(),
        list(&key.as_bytes()[..8]),
        hex(&key.as_bytes()[..8]),
    ] {
        assert!(!shown.contains(&secret), "{secret} is in {shown}");
    }
}
