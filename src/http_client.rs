//! HTTP requests that go out: hooks to the app, and the command line to a running sidecar.

use std::error::Error;

/// A client to be set up further, for plain `http` and sockets. It follows no redirect, because that would let a server
/// choose where we go, and uses no proxy from the environment: what is called is named in the configuration or on the
/// command line. It trusts no certificate, so that it also works where none are installed.
pub fn builder() -> reqwest::ClientBuilder {
    any_builder().tls_certs_only([])
}

/// The same for `https`: it trusts the certificates of the system, and cannot be built without them.
pub fn https_builder() -> reqwest::ClientBuilder {
    any_builder()
}

fn any_builder() -> reqwest::ClientBuilder {
    // TLS needs one provider of cryptography a process. A second installation is refused, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("sessgate/", env!("CARGO_PKG_VERSION")))
}

/// An error and its causes in one line, without the URL, which may hold credentials.
#[must_use]
pub fn why(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
