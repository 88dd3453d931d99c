//! The admin door: every route, who may call it, and what it answers.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use sessgate::config::settings::Secret;
use sessgate::doors::admin::{AdminService, Phase, Readiness, Reload};
use sessgate::metrics::labels::Door;
use sessgate::metrics::{BuildInfo, Metrics, Snapshot};
use sessgate::session::UserName;

use crate::support::exposition::Exposition;

/// Refuses the configuration for these problems; takes it if there are none.
struct Refuse(Vec<String>);

#[async_trait]
impl Reload for Refuse {
    async fn reload(&self) -> Result<(), Vec<String>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0.clone()) }
    }
}

struct Fixture {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    service: AdminService,
}

fn fixture(key: Option<&str>, problems: &[&str]) -> Fixture {
    let metrics = Arc::new(Metrics::new(&BuildInfo { version: "1.2.3", revision: "abc", store: "embedded" }));
    let readiness = Arc::new(Readiness::default());
    let reload = Refuse(problems.iter().map(|&problem| problem.to_owned()).collect());
    let service = AdminService::new(
        Arc::clone(&metrics),
        Arc::clone(&readiness),
        Box::new(reload),
        Box::new(|| "store:\n  embedded:\n    path: ./data\n".to_owned()),
        key.map(|key| Secret::new(key.into())),
    );
    metrics.store_up(true);
    Fixture { metrics, readiness, service }
}

struct Answer {
    status: StatusCode,
    head: Response<()>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.head.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that it is a problem and returns its code.
    fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        problem["code"].as_str().unwrap().to_owned()
    }
}

impl Fixture {
    async fn call(&self, method: Method, path: &str, headers: &[(&str, &[u8])]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for &(name, value) in headers {
            request = request.header(name, value);
        }
        let answer = self.service.handle(request.body(()).unwrap()).await;
        // As the listener does it.
        self.metrics.request(Door::Admin, *answer.extensions().get().unwrap());
        let (parts, body) = answer.into_parts();
        let body = text(body);
        Answer { status: parts.status, head: Response::from_parts(parts, ()), body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &[]).await
    }

    fn requests(&self, outcome: &str) -> f64 {
        let served = Exposition::parse(&self.metrics.encode().unwrap()).unwrap();
        let labels = [("door", "admin"), ("outcome", outcome)].into();
        served.find("sessgate_requests_total", &labels)[0].value
    }
}

fn text(body: Bytes) -> String {
    String::from_utf8(body.into()).unwrap()
}

#[tokio::test]
async fn metrics_are_served_in_the_text_format() {
    let admin = fixture(None, &[]);
    let answer = admin.get("/metrics").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8")
    );
    let served = Exposition::parse(&answer.body).unwrap();
    assert_eq!(served.families["sessgate_sessions"].kind, "gauge");
    let build = served.find("sessgate_build_info", &[("version", "1.2.3"), ("store", "embedded")].into());
    assert_eq!(build.len(), 1);
}

#[tokio::test]
async fn readiness_follows_the_phases_and_names_a_store_that_is_down() {
    let admin = fixture(None, &[]);
    let starting = admin.get("/readyz").await;
    assert_eq!((starting.status, starting.body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "starting\n"));
    admin.readiness.enter(Phase::Serving);
    let ready = admin.get("/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (StatusCode::OK, "ready\n"));
    admin.metrics.store_up(false);
    let degraded = admin.get("/readyz").await;
    assert_eq!(degraded.status, StatusCode::OK, "a sidecar that still answers from memory stays in service");
    assert!(degraded.body.starts_with("degraded"));
    admin.readiness.enter(Phase::Draining);
    let draining = admin.get("/readyz").await;
    assert_eq!((draining.status, draining.body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "draining\n"));
    assert_eq!(admin.get("/livez").await.body, "ok\n", "a draining sidecar is alive");
    assert_eq!([admin.requests("ok"), admin.requests("failed")].map(|n| n.to_string()), ["5", "0"]);
}

#[tokio::test]
async fn a_reload_answers_with_every_problem() {
    let answer = fixture(None, &[]).call(Method::POST, "/-/reload", &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let problems =
        ["config.yaml:3:1: unknown key `memroy_sessions`; did you mean `memory_sessions`?", "config.yaml:9:4: x"];
    let refused = fixture(None, &problems);
    let answer = refused.call(Method::POST, "/-/reload", &[]).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNPROCESSABLE_ENTITY, "config_invalid"));
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["problems"], serde_json::json!(problems));
    assert_eq!(refused.requests("refused").to_string(), "1");
}

#[tokio::test]
async fn the_configuration_is_served_as_rendered() {
    let answer = fixture(None, &[]).get("/-/config").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/yaml"));
    assert_eq!((answer.header("cache-control"), answer.body.contains("path: ./data")), ("no-store", true));
}

#[tokio::test]
async fn the_status_page_shows_figures_and_lets_no_name_become_markup() {
    let admin = fixture(None, &[]);
    admin.readiness.enter(Phase::Serving);
    let mallory = UserName::new("<script>alert('1')</script>").unwrap();
    admin.metrics.publish(Snapshot { users: 4_711, top_users: vec![(mallory, 12)], ..Snapshot::default() });
    let page = admin.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
    assert!(page.body.contains("4711") && page.body.contains("/metrics") && page.body.contains("ready"));
    assert!(page.body.contains("&lt;script&gt;") && !page.body.contains("<script"));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let admin = fixture(None, &[]);
    for path in ["/metrics/", "/Metrics", "/-/", "/-/reload/x", "//metrics", "/%6detrics"] {
        let answer = admin.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::NOT_FOUND, "not_found"), "{path}");
    }
    for (method, path, allow) in [
        (Method::GET, "/-/reload", "POST"),
        (Method::POST, "/metrics", "GET, HEAD"),
        (Method::DELETE, "/livez", "GET, HEAD"),
        (Method::PUT, "/-/config", "GET, HEAD"),
    ] {
        let answer = admin.call(method, path, &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, allow), "{path}");
        assert_eq!(answer.code(), "method_not_allowed");
    }
    assert_eq!(admin.call(Method::HEAD, "/metrics", &[]).await.status, StatusCode::OK);
    assert_eq!(admin.get("/metrics?name[]=up").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_key_is_asked_for_everywhere_but_in_health_checks() {
    let admin = fixture(Some("s3cret"), &[]);
    for path in ["/", "/metrics", "/-/config", "/unknown"] {
        let answer = admin.get(path).await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNAUTHORIZED, "api_key_required"), "{path}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    assert_eq!(admin.call(Method::POST, "/-/reload", &[]).await.status, StatusCode::UNAUTHORIZED);
    admin.readiness.enter(Phase::Serving);
    for path in ["/livez", "/readyz"] {
        assert_eq!(admin.get(path).await.status, StatusCode::OK, "{path}");
    }
    for (name, value, status) in [
        ("authorization", "Bearer s3cret", StatusCode::OK),
        ("Authorization", "bearer s3cret", StatusCode::OK),
        ("x-sessgate-key", "s3cret", StatusCode::OK),
        ("authorization", "Bearer s3cre", StatusCode::UNAUTHORIZED),
        ("authorization", "Bearer s3crets", StatusCode::UNAUTHORIZED),
        ("authorization", "Bearer ", StatusCode::UNAUTHORIZED),
        ("authorization", "Basic s3cret", StatusCode::UNAUTHORIZED),
        ("authorization", "s3cret", StatusCode::UNAUTHORIZED),
        ("x-sessgate-key", "\u{e9}", StatusCode::UNAUTHORIZED),
    ] {
        let answer = admin.call(Method::GET, "/metrics", &[(name, value.as_bytes())]).await;
        assert_eq!(answer.status, status, "{name}: {value}");
    }
}
