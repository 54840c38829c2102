//! What is refused before its body was read: the rest of the body is taken and thrown away, within bounds. A client that
//! sends first and listens then would otherwise find its connection closed, and never hear why.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use futures_util::StreamExt as _;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;

/// How long a rest is waited for.
const WITHIN: Duration = Duration::from_secs(2);

/// A body that more than one may hold; what one has read of it the others do not see.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<Body>>);

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}

/// What is left of a request's body.
pub(super) struct RestOfBody(Option<SharedBody>);

impl RestOfBody {
    /// Keeps hold of a body. Not where there is none, and not where the client waits to be told that it may send.
    pub(super) fn of(request: &mut Request) -> Self {
        if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
            return RestOfBody(None);
        }
        let body = std::mem::take(request.body_mut());
        let shared = SharedBody(Arc::new(Mutex::new(body)));
        *request.body_mut() = Body::new(shared.clone());
        RestOfBody(Some(shared))
    }

    /// Takes what is left, at most so many bytes and for two seconds.
    pub(super) async fn discard(self, most: usize) {
        let Some(shared) = self.0.filter(|shared| !shared.is_end_stream()) else { return };
        if shared.size_hint().lower() > most as u64 {
            return;
        }
        let mut pieces = Body::new(shared).into_data_stream();
        let to_its_end = async {
            let mut bytes = 0;
            while let Some(Ok(piece)) = pieces.next().await {
                bytes += piece.len();
                if bytes > most {
                    return;
                }
            }
        };
        // Whether it came is of no account: the answer is the same.
        drop(tokio::time::timeout(WITHIN, to_its_end).await);
    }
}
