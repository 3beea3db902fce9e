//! Short answers over HTTP, at most a few at once and none for long: metrics, health checks.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at once to one server; more are closed at once.
const CONNECTIONS: usize = 16;
/// How long a connection may last, however slow its other end is.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the other end may take to say what it wants.
const QUESTION: Duration = Duration::from_secs(3);
/// How long to wait when no connection can be taken.
const REST: Duration = Duration::from_secs(1);
/// Octets of a request's head.
const HEAD: usize = 16 << 10;

/// What is answered.
pub type Reply = Response<Full<Bytes>>;

/// A socket that listens there.
///
/// # Errors
///
/// The kernel's.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Answers GET and HEAD for the path of each request, until it is aborted.
pub async fn serve<F>(
    listener: TcpListener,
    answer: impl Fn(String) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Reply> + Send,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: some will be closed.
            tokio::time::sleep(REST).await;
            continue;
        };
        let Ok(place) = room.clone().try_acquire_owned() else { continue };
        let answer = answer.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(PATIENCE, connection(stream, answer)).await;
            drop(place);
        });
    }
}

async fn connection<F>(stream: TcpStream, answer: impl Fn(String) -> F + Clone)
where
    F: Future<Output = Reply>,
{
    let reply = |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            if !matches!(*request.method(), Method::GET | Method::HEAD) {
                let mut reply = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered\n");
                reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                return Ok::<_, Infallible>(reply);
            }
            Ok(answer(request.uri().path().to_owned()).await)
        }
    };
    // What goes wrong on the way is the other end's business.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(QUESTION)
        .keep_alive(false)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service_fn(reply))
        .await;
}

/// A text.
pub fn plain(status: StatusCode, text: impl Into<Bytes>) -> Reply {
    typed(status, "text/plain; charset=utf-8", text)
}

/// An answer of a media type; nobody is to keep it.
pub fn typed(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Reply {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
