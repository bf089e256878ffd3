//! Who a browser speaks for: without keys, whatever page it shows must not reach the tasks.
//!
//! A page of another site cannot name this server as its own unless its name is made to lead here
//! (DNS rebinding), which the header `host` gives away; what it sends from its own address carries
//! another `origin`, or says in `sec-fetch-site` that it comes from elsewhere.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderName, Method, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use linocut::{Error, ErrorKind, Result};

use crate::error::{Kind, Problem};
use crate::state::State;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// The address that is listened on, beside every request that came by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listening(pub(crate) SocketAddr);

/// A name or address of a machine, as addresses and headers write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Ip(IpAddr),
    /// Lower case, without a dot at its end.
    Name(String),
}

impl Host {
    /// Reads a name or an address without a port, as `--allow-host` takes it.
    ///
    /// # Errors
    /// If it is neither.
    pub(crate) fn named(text: &str) -> Result<Self> {
        let bare = text.parse::<Ipv6Addr>().map(|ip| Self::Ip(IpAddr::V6(ip)));
        match bare.map(|host| (host, None)).ok().or_else(|| authority(text)) {
            Some((host, None)) => Ok(host),
            _ => {
                let message = format!("{text:?} is no host name or address");
                let hint = "a name as example.com, without scheme and port";
                Err(Error::new(ErrorKind::Config, message).with_hint(hint))
            }
        }
    }

    /// Whether a page at this host can only be this server's: the loopback address, the one listened
    /// on (any where that is all of them), or one of `names`. A name on the network may lead anywhere.
    fn is_own(&self, listening: Option<SocketAddr>, names: &[Host]) -> bool {
        let own = match self {
            Self::Name(name) => name == "localhost",
            Self::Ip(ip) => {
                let listening = listening.map(|address| address.ip());
                ip.is_loopback() || listening.is_some_and(|own| own.is_unspecified() || own == *ip)
            }
        };
        own || names.contains(self)
    }
}

/// `host`, `host:port` or `[v6]:port`.
fn authority(text: &str) -> Option<(Host, Option<u16>)> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (ip, port) = rest.split_once(']')?;
            let ip = IpAddr::V6(ip.parse().ok()?).to_canonical();
            (Host::Ip(ip), if port.is_empty() { "" } else { port.strip_prefix(':')? })
        }
        None => {
            let (name, port) = text.split_once(':').unwrap_or((text, ""));
            let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() || !name.bytes().all(sane) {
                return None;
            }
            let ip = name.parse().map(Host::Ip);
            (ip.unwrap_or_else(|_| Host::Name(name.to_ascii_lowercase())), port)
        }
    };
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port = if port.is_empty() { None } else { Some(port.parse().ok().filter(|_| digits)?) };
    Some((name, port))
}

/// Lets requests pass that no page of another site can have sent.
pub(crate) async fn check(
    Shared(state): Shared<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let listening = request.extensions().get::<Listening>().map(|listening| listening.0);
    match checked(&request, &state, listening) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn checked(
    request: &Request,
    state: &State,
    listening: Option<SocketAddr>,
) -> std::result::Result<(), Problem> {
    let headers = request.headers();
    let host = one(headers, header::HOST)?;
    if host.is_none() && request.version() >= Version::HTTP_11 {
        return Err(Problem::new(Kind::BadRequest, "no header `host`, expected one"));
    }
    // With keys, no page can send what it does not have.
    if state.keys.is_some() {
        return Ok(());
    }
    let in_target = request.uri().authority().map(|authority| authority.as_str());
    let mut own = None;
    for text in [host, in_target].into_iter().flatten() {
        let found = authority(text).ok_or_else(|| {
            Problem::new(Kind::BadRequest, format!("the host {text:?} is no HOST or HOST:PORT"))
        })?;
        if !found.0.is_own(listening, &state.hosts) {
            let message = format!("this server has no keys and is not known as {text:?}");
            let hint = "ask it by an address it listens on, as 127.0.0.1 or localhost; or start it \
                        with --allow-host NAME, or with --keys";
            return Err(Problem::new(Kind::WrongHost, message).with_hint(hint));
        }
        own = Some(found);
    }
    let elsewhere = |what: String| {
        let message = format!("{what}: pages of other sites may not ask a server without keys");
        Problem::new(Kind::CrossOrigin, message)
            .with_hint("--allow-host NAME lets pages of that host, --keys lets holders of keys")
    };
    if let Some(origin) = one(headers, header::ORIGIN)?
        && !is_same(origin, own.as_ref(), &state.hosts)
    {
        return Err(elsewhere(format!("the request comes from {origin:?}")));
    }
    let site = one(headers, FETCH_SITE)?.unwrap_or("none");
    // Whoever follows a link to the page comes from another site, too.
    let follows = matches!(*request.method(), Method::GET | Method::HEAD)
        && one(headers, FETCH_MODE)? == Some("navigate");
    if headers.get(header::ORIGIN).is_none() && !["none", "same-origin"].contains(&site) && !follows
    {
        return Err(elsewhere(format!("the request comes from another page ({site})")));
    }
    Ok(())
}

/// The one value of a header that says for whom a request is.
fn one(headers: &HeaderMap, name: HeaderName) -> std::result::Result<Option<&str>, Problem> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next();
    if values.next().is_some() {
        let message = format!("the header `{name}` stands there more than once");
        return Err(Problem::new(Kind::BadRequest, message));
    }
    let text = first.map(|value| value.to_str()).transpose();
    text.map_err(|_| {
        Problem::new(Kind::BadRequest, format!("the header `{name}` is not plain text"))
    })
}

/// Whether pages of `origin` are this server's own, asked as `own`, or of one of `names`, behind which
/// a proxy may ask it by another.
fn is_same(origin: &str, own: Option<&(Host, Option<u16>)>, names: &[Host]) -> bool {
    let (usual, rest) = match origin.split_once("://") {
        Some(("http", rest)) => (80, rest),
        Some(("https", rest)) => (443, rest),
        _ => return false,
    };
    let Some((host, port)) = authority(rest) else { return false };
    let port = port.unwrap_or(usual);
    // Where TLS ends before the server, `host` has no port and the scheme is not known.
    let same = |(own, at): &(Host, Option<u16>)| *own == host && at.unwrap_or(usual) == port;
    (names.contains(&host) && port == usual) || own.is_some_and(same)
}

#[cfg(test)]
mod tests {
    use super::{Host, authority, is_same};

    #[test]
    fn hosts_as_headers_write_them() {
        let name = |name: &str| Host::Name(name.into());
        let ip = |ip: &str| Host::Ip(ip.parse().unwrap());
        for (text, host, port) in [
            ("localhost", name("localhost"), None),
            ("LocalHost.:8080", name("localhost"), Some(8080)),
            ("localhost:", name("localhost"), None),
            ("127.0.0.1:80", ip("127.0.0.1"), Some(80)),
            ("[::1]:8080", ip("::1"), Some(8080)),
            ("[::1]", ip("::1"), None),
            ("[::ffff:127.0.0.1]", ip("127.0.0.1"), None),
            ("127.1", name("127.1"), None),
        ] {
            assert_eq!(authority(text), Some((host, port)), "{text}");
        }
        for bad in
            ["", ":80", ".", "a b", "u@localhost", "localhost:x", "localhost:+1", "localhost:99999"]
        {
            assert_eq!(authority(bad), None, "{bad}");
        }
        for bad in ["[::1", "[::1]x", "[127.0.0.1]", "::1", "a:1:2", "http://a", "a/b"] {
            assert_eq!(authority(bad), None, "{bad}");
        }
        assert_eq!(Host::named("::1").unwrap(), ip("::1"));
        assert_eq!(Host::named("Example.com.").unwrap(), name("example.com"));
        assert!(Host::named("example.com:80").unwrap_err().to_string().contains("no host name"));
    }

    #[test]
    fn origins_that_are_the_servers_own() {
        let own = authority("localhost:8080").unwrap();
        let proxied = authority("example.com").unwrap();
        let names = [Host::Name("pages.example".into())];
        assert!(is_same("http://localhost:8080", Some(&own), &[]));
        assert!(is_same("https://example.com", Some(&proxied), &[]));
        assert!(is_same("https://pages.example", Some(&own), &names));
        for other in [
            "null",
            "https://pages.example:444",
            "",
            "http://localhost",
            "http://localhost:3000",
            "http://127.0.0.1:8080",
            "http://localhost:8080/",
            "http://localhost:8080.evil.example",
            "file://",
            "chrome-extension://localhost:8080",
        ] {
            assert!(!is_same(other, Some(&own), &names), "{other}");
        }
        assert!(!is_same("http://localhost", None, &[]));
    }
}
