//! Waiting for the first of two futures: the one combinator that the background loops need.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Which of the two completed; the first, if both have.
pub(crate) enum First<A, B> {
    A(A),
    B(B),
}

/// Completes with the first of `a` and `b`, and drops the other.
pub(crate) async fn race<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> First<A, B> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|context| {
        if let Poll::Ready(value) = a.as_mut().poll(context) {
            return Poll::Ready(First::A(value));
        }
        b.as_mut().poll(context).map(First::B)
    })
    .await
}
