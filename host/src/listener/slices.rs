//! Work that grows with what somebody has made, on a thread that others need: it is done in slices, between which the
//! others have their turn.

use std::time::Duration;

use tokio::time::Instant;

/// How long others wait for a slice.
const SLICE: Duration = Duration::from_millis(1);

/// The slice of work that is being done.
pub(super) struct WorkSlice(Instant);

impl WorkSlice {
    /// Begins now.
    pub(super) fn begin() -> Self {
        WorkSlice(Instant::now())
    }

    /// Lets the others have their turn where it has taken long enough. To be asked after each step.
    pub(super) async fn rest(&mut self) {
        if self.0.elapsed() >= SLICE {
            tokio::task::yield_now().await;
            self.0 = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn others_have_their_turn_while_a_long_piece_of_work_goes_on() {
        let (done, seen) = (Cell::new(0), Cell::new(None));
        let long = async {
            let mut slice = WorkSlice::begin();
            while seen.get().is_none() {
                done.set(done.get() + 1);
                slice.rest().await;
            }
        };
        let other = async {
            tokio::task::yield_now().await;
            seen.set(Some(done.get()));
        };
        tokio::join!(long, other);
        assert!(seen.get() > Some(0));
    }
}
