//! When what is kept for a time is forgotten: a group at once while there is more, then a rest.

use std::convert::Infallible;
use std::time::Duration;

use crate::clock::now_ms;
use crate::failure_streak::FailureStreak;

/// Rows forgotten in one go.
pub const CLEANED: usize = 100;

/// Forgets what is older than `retention`, for as long as it is awaited. `clean` is given a time in Unix milliseconds and
/// forgets up to [`CLEANED`] rows that are older; the first failure is told, and those that follow it are not.
pub async fn forget_old<E, R>(retention: Duration, clean: impl Fn(i64) -> R, tell: impl Fn(E)) -> Infallible
where
    R: Future<Output = Result<usize, E>>,
{
    let mut failures = FailureStreak::default();
    loop {
        match clean(before(now_ms(), retention)).await {
            Ok(count) => {
                failures.ended();
                if count == CLEANED {
                    continue;
                }
            }
            Err(error) if failures.begins() => tell(error),
            Err(_) => {}
        }
        tokio::time::sleep(pause(retention)).await;
    }
}

/// What was kept before this time is too old.
fn before(now_ms: i64, retention: Duration) -> i64 {
    now_ms.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX))
}

/// A small part of what is kept, so that little stays longer than it should.
fn pause(retention: Duration) -> Duration {
    (retention / 20).clamp(Duration::from_millis(50), Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_cleaner_rests_for_a_small_part_of_what_is_kept() {
        for (retention_ms, expected_ms) in [(1, 50), (2_000, 100), (86_400_000, 60_000)] {
            assert_eq!(pause(Duration::from_millis(retention_ms)), Duration::from_millis(expected_ms));
        }
        assert_eq!(before(1_000, Duration::from_millis(400)), 600);
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_rest_while_there_is_more_and_a_failure_is_told_once() {
        let answers = RefCell::new(vec![Ok(3), Err("third"), Err("second"), Ok(CLEANED), Ok(CLEANED)]);
        let (told, begun) = (RefCell::new(Vec::new()), tokio::time::Instant::now());
        let at = RefCell::new(Vec::new());

        let forgetting = forget_old(
            Duration::from_secs(2),
            |_| {
                at.borrow_mut().push(begun.elapsed().as_millis());
                std::future::ready(answers.borrow_mut().pop().unwrap_or(Ok(0)))
            },
            |error| told.borrow_mut().push(error),
        );
        tokio::time::timeout(Duration::from_millis(350), forgetting).await.unwrap_err();

        assert_eq!(at.take(), [0, 0, 0, 100, 200, 300]);
        assert_eq!(told.take(), ["second"]);
    }
}
