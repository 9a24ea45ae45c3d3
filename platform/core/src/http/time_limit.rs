//! The limit on the time of a request, until its answer begins. A handler that moves a large body tells so, and then the
//! limit counts from its last word: it bounds how long nothing moves, not how long all of it takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, sleep_until};

/// The time of one request; every request carries one as an extension.
#[derive(Clone, Debug)]
pub struct TimeLimit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: Duration,
    deadline: Mutex<Instant>,
}

impl TimeLimit {
    fn new(limit: Duration) -> Self {
        Self(Arc::new(Inner { limit, deadline: Mutex::new(Instant::now() + limit) }))
    }

    /// Something moved: the limit counts from now on.
    pub fn moved(&self) {
        *self.0.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.0.limit;
    }

    async fn exceeded(&self) {
        loop {
            let deadline = *self.0.deadline.lock().unwrap_or_else(PoisonError::into_inner);
            if Instant::now() >= deadline {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

/// Gives up on a request past its time. The handler is dropped; `problem` finds words for the status.
pub(super) async fn layer(State(limit): State<Duration>, mut request: Request, next: Next) -> Response {
    let time = TimeLimit::new(limit);
    request.extensions_mut().insert(time.clone());
    tokio::select! {
        biased;
        response = next.run(request) => response,
        () = time.exceeded() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use axum::{Extension, Router};
    use tokio::time::sleep;
    use tower::ServiceExt as _;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    async fn status(route: axum::routing::MethodRouter) -> (StatusCode, Duration) {
        let app = Router::new().route("/", route).layer(from_fn_with_state(LIMIT, layer));
        let begin = Instant::now();
        let response = app.oneshot(Request::new(axum::body::Body::empty())).await.unwrap();
        (response.status(), begin.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_says_nothing_has_the_limit() {
        let (status, took) = status(get(|| async {
            pending::<()>().await;
        }))
        .await;
        assert_eq!((status, took), (StatusCode::SERVICE_UNAVAILABLE, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_moves_has_all_the_time_and_one_that_stops_the_limit() {
        let moving = |pieces: u32, then_stop: bool| {
            get(move |Extension(time): Extension<TimeLimit>| async move {
                for _ in 0..pieces {
                    sleep(LIMIT / 2).await;
                    time.moved();
                }
                if then_stop {
                    pending::<()>().await;
                }
            })
        };
        assert_eq!(status(moving(10, false)).await, (StatusCode::OK, LIMIT * 5));
        assert_eq!(status(moving(10, true)).await, (StatusCode::SERVICE_UNAVAILABLE, LIMIT * 6));
    }
}
