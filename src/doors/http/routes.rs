//! What there is: one table, which the router, the answers to wrong methods and the tests of the documentation use.

use hyper::Method;
use hyper::header::HeaderValue;

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`ROUTES` says what each is")]
pub enum Operation {
    Create,
    LookUp,
    Update,
    Revoke,
    Touch,
    Rotate,
    Find,
    RevokeId,
    UserSessions,
    RevokeUser,
    TakeLease,
    RenewLease,
    ReturnLease,
    Bind,
    Stats,
    OpenApi,
}

/// A path, a method and the call they make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path; one segment of it may be a `{parameter}`.
    pub path: &'static str,
    /// The method. `HEAD` goes where `GET` goes, and `OPTIONS` is answered for every path.
    pub method: Method,
    /// The call.
    pub operation: Operation,
}

const fn route(method: Method, path: &'static str, operation: Operation) -> Route {
    Route { path, method, operation }
}

/// Every call there is.
pub static ROUTES: [Route; 16] = [
    route(Method::GET, "/v1/session", Operation::LookUp),
    route(Method::PUT, "/v1/session", Operation::Update),
    route(Method::DELETE, "/v1/session", Operation::Revoke),
    route(Method::POST, "/v1/session/touch", Operation::Touch),
    route(Method::POST, "/v1/session/rotate", Operation::Rotate),
    route(Method::POST, "/v1/sessions", Operation::Create),
    route(Method::GET, "/v1/sessions/{id}", Operation::Find),
    route(Method::DELETE, "/v1/sessions/{id}", Operation::RevokeId),
    route(Method::GET, "/v1/users/{user}/sessions", Operation::UserSessions),
    route(Method::DELETE, "/v1/users/{user}/sessions", Operation::RevokeUser),
    route(Method::POST, "/v1/users/{user}/leases", Operation::TakeLease),
    route(Method::PUT, "/v1/leases/{lease}", Operation::RenewLease),
    route(Method::DELETE, "/v1/leases/{lease}", Operation::ReturnLease),
    route(Method::PUT, "/v1/bindings/{key}", Operation::Bind),
    route(Method::GET, "/v1/stats", Operation::Stats),
    route(Method::GET, "/v1/openapi.json", Operation::OpenApi),
];

/// Where a request leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'p> {
    /// To a call, with the path's parameter as it was sent, or nothing.
    Call(Operation, &'p str),
    /// To a path that has other methods: these.
    OtherMethods(Vec<&'static Method>),
    /// Nowhere.
    Nothing,
}

/// Finds the call for a method and a path.
pub fn find<'p>(method: &Method, path: &'p str) -> Found<'p> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let mut others = Vec::new();
    for route in &ROUTES {
        if let Some(parameter) = parameter(route.path, path) {
            if route.method == *method {
                return Found::Call(route.operation, parameter);
            }
            others.push(&route.method);
        }
    }
    if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
}

/// The value of an `Allow` header for these methods.
pub fn allow(methods: &[&Method]) -> HeaderValue {
    let mut allow = String::new();
    for method in methods {
        allow.push_str(method.as_str());
        allow.push_str(", ");
        if **method == Method::GET {
            allow.push_str("HEAD, ");
        }
    }
    allow.push_str("OPTIONS");
    HeaderValue::from_str(&allow).unwrap_or(HeaderValue::from_static("OPTIONS"))
}

/// Whether `path` is of the form `pattern`, and what stands where the pattern has its parameter.
fn parameter<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, after)) = pattern.split_once('{') else { return (pattern == path).then_some("") };
    let (_, after) = after.split_once('}')?;
    let found = path.strip_prefix(before)?.strip_suffix(after)?;
    // `strip_suffix` of an empty text takes anything, and a slash would begin another segment.
    (!found.contains('/')).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_one_segment_whatever_is_in_it() {
        assert_eq!(find(&Method::GET, "/v1/users/a%2Fb/sessions"), Found::Call(Operation::UserSessions, "a%2Fb"));
        assert_eq!(find(&Method::GET, "/v1/users//sessions"), Found::Call(Operation::UserSessions, ""));
        assert_eq!(find(&Method::GET, "/v1/users/a/b/sessions"), Found::Nothing);
        assert_eq!(find(&Method::GET, "/v1/users/sessions"), Found::Nothing);
        assert_eq!(find(&Method::GET, "/v1/session/"), Found::Nothing);
        assert_eq!(find(&Method::GET, "/v1/sessions/x"), Found::Call(Operation::Find, "x"));
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        let Found::OtherMethods(methods) = find(&Method::PATCH, "/v1/session") else { panic!("no such path") };
        assert_eq!(allow(&methods), "GET, HEAD, PUT, DELETE, OPTIONS");
    }
}
