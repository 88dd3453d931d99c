//! What each call does: read the request, ask the gateway, write the answer.

use hyper::body::{Bytes, Incoming};
use hyper::header::{CACHE_CONTROL, ETAG, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde_json::json as value;

use super::problem::Problem;
use super::request::{IfMatch, if_match, key, page, query, raw_key, session_key, user};
use super::routes::Operation;
use super::{Api, OPENAPI, body, json, no_content, render, request};
use crate::gateway::api::{GatewayError, Lease, Slide, View};
use crate::session::{LeaseId, RawName, SessionId, Token, UserName};

type Answer = Result<Response<Bytes>, Problem>;

impl Api {
    /// Makes one call. `parameter` is the path's, as it was sent.
    pub(super) async fn call_operation(
        &self,
        call: Operation,
        parameter: &str,
        mut request: Request<Incoming>,
    ) -> Answer {
        if !matches!(call, Operation::Create | Operation::Update | Operation::Bind) {
            request::discard(request.body_mut(), &self.limits).await;
        }
        let parameters = request.uri().query();
        // Every other call takes none, and a misspelt one must not be taken for granted.
        if !matches!(call, Operation::LookUp | Operation::UserSessions) {
            let [] = query(parameters, [])?;
        }
        match call {
            Operation::LookUp => self.look_up(&request).await,
            Operation::Update => self.update(request).await,
            Operation::Revoke => self.revoke(&request).await,
            Operation::Touch => {
                self.gateway.touch(session_key(request.headers())?).await?;
                Ok(no_content())
            }
            Operation::Rotate => {
                let (token, view) = self.gateway.rotate(session_key(request.headers())?).await?;
                Ok(session(&view, Some(&token)))
            }
            Operation::Create => self.create(request).await,
            Operation::Find => {
                let view = self.gateway.find(session_id(parameter)?).await?;
                Ok(session(&view, None))
            }
            Operation::RevokeId => {
                let revoked = self.gateway.revoke_id(session_id(parameter)?).await?;
                if revoked { Ok(no_content()) } else { Err(Problem::session_not_found()) }
            }
            Operation::UserSessions => self.user_sessions(user(parameter)?, parameters).await,
            Operation::RevokeUser => {
                let revoked = self.gateway.revoke_user(user(parameter)?).await?;
                Ok(json(StatusCode::OK, format!("{{\"revoked\":{revoked}}}")))
            }
            Operation::TakeLease => Ok(lease(StatusCode::CREATED, &self.gateway.take_lease(&user(parameter)?)?)),
            Operation::RenewLease => {
                let renewed = self.gateway.renew_lease(lease_id(parameter)?).map_err(of_lease)?;
                Ok(lease(StatusCode::OK, &renewed))
            }
            Operation::ReturnLease => {
                self.gateway.return_lease(lease_id(parameter)?).map_err(of_lease)?;
                Ok(no_content())
            }
            Operation::Bind => self.bind(&raw_key(parameter)?, request).await,
            Operation::Stats => self.stats().await,
            Operation::OpenApi => {
                let mut response = json(StatusCode::OK, Bytes::from_static(OPENAPI.as_bytes()));
                // It changes with the program only.
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
                Ok(response)
            }
        }
    }

    async fn look_up(&self, request: &Request<Incoming>) -> Answer {
        let [touch] = query(request.uri().query(), ["touch"])?;
        let slide = match touch.as_deref() {
            None | Some("true") => Slide::Touch,
            Some("false") => Slide::Peek,
            Some(_) => return Err(Problem::invalid_query("`touch` must be `true` or `false`")),
        };
        let view = self.gateway.look_up(session_key(request.headers())?, slide).await?;
        Ok(session(&view, None))
    }

    async fn create(&self, request: Request<Incoming>) -> Answer {
        let body = request::body(request, &self.limits).await?;
        let created = self.gateway.create(body::create(&body)?).await?;
        let mut out = Vec::with_capacity(render::session_size(&created.view));
        render::created(&mut out, &created.view, &created.token, &created.evicted);
        Ok(json(StatusCode::CREATED, out))
    }

    async fn update(&self, request: Request<Incoming>) -> Answer {
        let key = session_key(request.headers())?;
        let condition = if_match(request.headers());
        let body = request::body(request, &self.limits).await?;
        let data = body::update(&body)?;
        let if_revision = match condition {
            IfMatch::Any => None,
            IfMatch::Revision(revision) => Some(revision),
            IfMatch::Never => {
                // A session that is gone is said to be gone, whatever was expected of it.
                let current = self.gateway.look_up(key, Slide::Peek).await?.entry.session.revision;
                return Err(GatewayError::RevisionMismatch { current }.into());
            }
        };
        let view = self.gateway.update(key, data, if_revision).await?;
        Ok(session(&view, None))
    }

    async fn revoke(&self, request: &Request<Incoming>) -> Answer {
        // What cannot be a token has no session, and that is what was asked for.
        if let Some(key) = key(request.headers())? {
            self.gateway.revoke(key).await?;
        }
        Ok(no_content())
    }

    async fn user_sessions(&self, user: UserName, parameters: Option<&str>) -> Answer {
        let (limit, after) = page(parameters)?;
        let (views, next) = self.gateway.user_sessions(user, after, limit).await?;
        let mut out = b"{\"sessions\":[".to_vec();
        for (place, view) in views.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            render::session(&mut out, view, None, render::Data::Hidden);
        }
        out.extend_from_slice(b"],\"next_cursor\":");
        match next {
            // Base64url needs no escapes.
            Some(next) => out.extend_from_slice(format!("\"{}\"", request::encode_cursor(next)).as_bytes()),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
        Ok(json(StatusCode::OK, out))
    }

    async fn bind(&self, key: &[u8], request: Request<Incoming>) -> Answer {
        let body = request::body(request, &self.limits).await?;
        let (user, database) = body::bind(&body)?;
        self.gateway.bind(RawName::new(database, key), user).await?;
        Ok(no_content())
    }

    async fn stats(&self) -> Answer {
        let stats = self.gateway.stats().await?;
        let settings = self.gateway.settings();
        let limits = &settings.limits;
        let mut evictions = value!({ "memory": {}, "storage": {} });
        for (tier, reason, count) in stats.evictions {
            evictions[tier][reason] = count.into();
        }
        let top_users: Vec<_> = stats
            .top_users
            .iter()
            .map(|(user, sessions)| value!({ "user": user.as_str(), "sessions": sessions }))
            .collect();
        let body = value!({
            "sessions": {
                "memory": stats.memory,
                "storage": stats.storage,
                "active": stats.active,
                "stale": stats.stale,
            },
            "storage": { "bytes": stats.storage_bytes, "limit_bytes": limits.stored.bytes },
            "limits": {
                "memory_sessions": limits.memory_sessions,
                "memory_bytes": limits.memory_bytes,
                "stored_sessions": limits.stored.sessions,
                "stored_bytes": limits.stored.bytes,
                "session_bytes": limits.session_bytes,
                "user_sessions": limits.per_user.sessions,
                "user_leases": limits.leases.per_user,
            },
            "evictions": evictions,
            "top_users": top_users,
        });
        Ok(json(StatusCode::OK, body.to_string()))
    }
}

fn session(view: &View, token: Option<&Token>) -> Response<Bytes> {
    let mut out = Vec::with_capacity(render::session_size(view));
    render::session(&mut out, view, token, render::Data::Shown);
    let mut response = json(StatusCode::OK, out);
    let tag = format!("\"{}\"", view.entry.session.revision);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn lease(status: StatusCode, lease: &Lease) -> Response<Bytes> {
    let mut out = Vec::with_capacity(128);
    render::lease(&mut out, lease);
    json(status, out)
}

fn session_id(text: &str) -> Result<SessionId, Problem> {
    SessionId::parse(text).ok_or_else(Problem::session_not_found)
}

fn lease_id(text: &str) -> Result<LeaseId, Problem> {
    LeaseId::parse(text).ok_or_else(Problem::lease_not_found)
}

fn of_lease(error: GatewayError) -> Problem {
    match error {
        GatewayError::NotFound => Problem::lease_not_found(),
        other => other.into(),
    }
}
