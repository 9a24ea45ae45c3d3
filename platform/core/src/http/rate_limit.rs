//! How many requests a minute are taken: on routes that need no credential by the block of addresses that a request
//! comes from, on some others by who calls.
//!
//! What a route is limited by stands in its OpenAPI declaration, `x-rate-limit` being `login`, `key-operations` or
//! `none`; a route without a credential that says nothing is limited as `anonymous`, so that none is forgotten. The
//! counts are this process's own. How an address was abused in the past does not belong here: auth locks out guessers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use utoipa::openapi::path::{Operation, PathItem};

use crate::caller::{Origin, Principal};
use crate::clock::Clock;
use crate::config::RateLimitConfig;
use crate::error::ApiError;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// How a route names its limit in the OpenAPI document.
const EXTENSION: &str = "x-rate-limit";
/// The tag of the routes that orchestrators and scrapers ask all the time.
const UNLIMITED_TAG: &str = "health";

const WINDOW_SECONDS: i64 = 60;
const WINDOW_MICROS: i64 = WINDOW_SECONDS * 1_000_000;
/// Budgets remembered at once, some 100 bytes each. The least recently used one goes first: its owner begins anew.
const BUDGETS: u64 = 100_000;

/// The limits of `RateLimit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Class {
    Anonymous,
    Login,
    KeyOperations,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Login => "login",
            Self::KeyOperations => "key-operations",
        }
    }

    /// What an operation declares; None for one without a limit.
    fn of(operation: &Operation) -> Option<Self> {
        let declared =
            operation.extensions.as_ref().and_then(|extensions| extensions.get(EXTENSION)?.as_str());
        match declared {
            Some("login") => return Some(Self::Login),
            Some("key-operations") => return Some(Self::KeyOperations),
            Some("none") => return None,
            _ => {}
        }
        let is_open = operation.security.as_ref().is_none_or(Vec::is_empty);
        let tags = operation.tags.as_deref().unwrap_or_default();
        (is_open && !tags.iter().any(|tag| tag == UNLIMITED_TAG)).then_some(Self::Anonymous)
    }
}

/// The limits of this process, with what is left of them.
pub(super) struct RateLimits {
    clock: Clock,
    quotas: RateLimitConfig,
    /// By the path as the router has it.
    routes: HashMap<String, Vec<(Method, Class)>>,
    /// When a budget will be whole again, in microseconds since 1970 (the "theoretical arrival time" of GCRA).
    budgets: Cache<(Class, String), Arc<AtomicI64>>,
}

/// What became of one request's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    class: Class,
    quota: u32,
    remaining: i64,
    /// Until the budget is whole again.
    reset_seconds: i64,
    /// For a request that is refused: when the next one is taken.
    retry_after: Option<u32>,
}

impl RateLimits {
    /// Reads the limit of each route from the document that is published.
    pub(super) fn new(clock: &Clock, quotas: RateLimitConfig, document: &utoipa::openapi::OpenApi) -> Self {
        let limited = |item: &PathItem| -> Vec<(Method, Class)> {
            operations(item)
                .into_iter()
                .filter_map(|(method, operation)| Some((method, Class::of(operation.as_ref()?)?)))
                .collect()
        };
        Self {
            clock: clock.clone(),
            quotas,
            routes: document.paths.paths.iter().map(|(path, item)| (path.clone(), limited(item))).collect(),
            budgets: Cache::builder()
                .max_capacity(BUDGETS)
                .time_to_idle(Duration::from_secs(WINDOW_SECONDS.unsigned_abs()))
                .eviction_policy(EvictionPolicy::lru())
                .build(),
        }
    }

    fn class(&self, request: &Request) -> Option<Class> {
        // The document has one form of parameter, the router two.
        let path = request.extensions().get::<MatchedPath>()?.as_str().replace("{*", "{");
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        let limited = self.routes.get(&path)?;
        limited.iter().find(|(known, _)| known == method).map(|(_, class)| *class)
    }

    fn quota(&self, class: Class) -> u32 {
        match class {
            Class::Anonymous => self.quotas.anonymous_per_minute.get(),
            Class::Login => self.quotas.login_per_minute.get(),
            Class::KeyOperations => self.quotas.key_operations_per_minute.get(),
        }
    }

    /// Takes one request of a budget (GCRA: a full minute's worth at once, then one whenever its share of the minute
    /// has passed).
    fn take(&self, class: Class, whose: String) -> Verdict {
        let quota = self.quota(class);
        let share = (WINDOW_MICROS / i64::from(quota)).max(1);
        let now = self.clock.now().as_microsecond();
        let budget = self.budgets.get_with((class, whose), || Arc::new(AtomicI64::new(now)));
        // A clock that was set back must not lock anyone out for longer than a window.
        let begin = |whole_at: i64| whole_at.clamp(now, now + WINDOW_MICROS);
        let taken = budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |whole_at| {
            let next = begin(whole_at) + share;
            (next - now <= WINDOW_MICROS).then_some(next)
        });
        let (whole_at, retry_after) = match taken {
            Ok(before) => (begin(before) + share, None),
            Err(before) => {
                let wait = begin(before) + share - WINDOW_MICROS - now;
                (begin(before), Some(u32::try_from(seconds(wait)).unwrap_or(u32::MAX)))
            }
        };
        Verdict {
            class,
            quota,
            remaining: if retry_after.is_some() { 0 } else { (WINDOW_MICROS - (whole_at - now)) / share },
            reset_seconds: seconds(whole_at - now),
            retry_after,
        }
    }
}

/// Rounded up: who comes back then is served.
fn seconds(micros: i64) -> i64 {
    micros.max(0).saturating_add(999_999) / 1_000_000
}

fn operations(item: &PathItem) -> [(Method, &Option<Operation>); 5] {
    [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ]
}

impl Verdict {
    fn refusal(self) -> Option<ApiError> {
        let seconds = self.retry_after?;
        let mut error = ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "core.rate_limited",
            format!(
                "More than {} requests in a minute came from here; the next one is taken in {seconds} s (Retry-After).",
                self.quota
            ),
        );
        error.retry_after = Some(seconds);
        Some(error)
    }

    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4).
    fn tell(self, response: &mut Response) {
        let (name, quota) = (self.class.name(), self.quota);
        let policy = format!("\"{name}\";q={quota};w={WINDOW_SECONDS}");
        let limit = format!("\"{name}\";r={};t={}", self.remaining, self.reset_seconds);
        for (header, text) in [(POLICY, policy), (LIMIT, limit)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                response.headers_mut().insert(header, value);
            }
        }
    }
}

/// A limit that waits until the caller is known.
#[derive(Clone)]
struct Pending {
    limits: Arc<RateLimits>,
    class: Class,
    verdict: Arc<OnceLock<Verdict>>,
}

/// Charges the caller of a route that is limited by who calls.
pub(super) fn charge(parts: &Parts, principal: &Principal) -> Result<(), ApiError> {
    let Some(pending) = parts.extensions.get::<Pending>() else { return Ok(()) };
    let verdict = pending.limits.take(pending.class, format!("{}:{}", principal.tenant, principal.name));
    let verdict = *pending.verdict.get_or_init(|| verdict);
    verdict.refusal().map_or(Ok(()), Err)
}

pub(super) async fn layer(
    State(limits): State<Arc<RateLimits>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(class) = limits.class(&request) else { return next.run(request).await };
    if class == Class::KeyOperations {
        let verdict = Arc::new(OnceLock::new());
        request.extensions_mut().insert(Pending { limits, class, verdict: Arc::clone(&verdict) });
        let mut response = next.run(request).await;
        if let Some(verdict) = verdict.get() {
            verdict.tell(&mut response);
        }
        return response;
    }
    let block =
        request.extensions().get::<Arc<Origin>>().map_or_else(String::new, |origin| origin.address_block());
    let verdict = limits.take(class, block);
    let mut response = match verdict.refusal() {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    verdict.tell(&mut response);
    response
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    fn limits(per_minute: u32) -> RateLimits {
        let quota = NonZeroU32::new(per_minute).unwrap();
        let quotas = RateLimitConfig { login_per_minute: quota, ..RateLimitConfig::default() };
        RateLimits::new(&Clock::system(), quotas, &crate::http::document(Vec::new()))
    }

    fn take(limits: &RateLimits, whose: &str) -> Verdict {
        limits.take(Class::Login, whose.to_owned())
    }

    #[test]
    fn a_minutes_worth_is_taken_at_once_and_comes_back_share_by_share() {
        let limits = limits(4);
        for remaining in [3, 2, 1, 0] {
            let verdict = take(&limits, "a");
            assert_eq!((verdict.remaining, verdict.retry_after), (remaining, None));
        }
        let refused = take(&limits, "a");
        // A share is 15 s; what passed since the first claim counts.
        assert!(matches!(refused.retry_after, Some(14..=15)), "{refused:?}");
        assert_eq!(refused.refusal().unwrap().code, "core.rate_limited");
        // Nobody pays for another, and a refused request costs nothing.
        assert_eq!(take(&limits, "b").remaining, 3);
        limits.clock.advance(SignedDuration::from_secs(15));
        assert_eq!(take(&limits, "a").retry_after, None);
        assert!(take(&limits, "a").retry_after.is_some());
        limits.clock.advance(SignedDuration::from_secs(60));
        assert_eq!(take(&limits, "a").remaining, 3);
    }

    #[test]
    fn the_headers_are_those_of_the_draft() {
        let mut response = StatusCode::OK.into_response();
        let verdict =
            Verdict { class: Class::Login, quota: 100, remaining: 42, reset_seconds: 30, retry_after: None };
        verdict.tell(&mut response);
        assert_eq!(response.headers()[POLICY], r#""login";q=100;w=60"#);
        assert_eq!(response.headers()[LIMIT], r#""login";r=42;t=30"#);
    }

    #[test]
    fn the_routes_of_the_process_itself_are_not_limited() {
        let limits = limits(1);
        assert!(limits.routes.contains_key("/health/live") && limits.routes.contains_key("/metrics"));
        assert!(limits.routes.values().all(Vec::is_empty));
    }

    proptest! {
        /// However requests are spread over time: never more than two quotas in any one minute, which is what a full
        /// budget and its refilling come to.
        #[test]
        fn no_minute_takes_more_than_two_quotas(quota in 1_u32..50, pauses in prop::collection::vec(0_i64..5_000, 1..300)) {
            let limits = limits(quota);
            let mut taken = Vec::new();
            for pause in pauses {
                limits.clock.advance(SignedDuration::from_millis(pause));
                if take(&limits, "a").retry_after.is_none() {
                    taken.push(limits.clock.now().as_microsecond());
                }
            }
            for (index, first) in taken.iter().enumerate() {
                let within = taken[index..].iter().take_while(|at| *at - first < WINDOW_MICROS).count();
                prop_assert!(within <= 2 * quota as usize, "{within} of {quota}");
            }
        }
    }
}
