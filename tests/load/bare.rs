//! The yardstick: reqwest posting to the receiver, and nothing else.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::receiver::LoadReceiver;

/// Requests in flight.
const IN_FLIGHT: usize = 64;

/// Microseconds of processor time for each of so many requests, and how many a second there were.
pub(crate) async fn bare_loop(count: usize) -> anyhow::Result<(f64, f64)> {
    let receiver = LoadReceiver::start()?;
    let url = receiver.url("/bare");
    let expected = receiver.expect(count as u64)?;
    let begun = tokio::time::Instant::now();
    let client = std::thread::Builder::new().name("bare".to_owned()).spawn(move || post(&url, count))?;
    let ended = expected.all_came(&receiver).await?;
    let cpu = client.join().ok().context("the bare client panicked")??;
    receiver.balance()?;
    Ok((cpu.as_secs_f64() * 1e6 / count as f64, count as f64 / (ended - begun).as_secs_f64()))
}

/// On a thread of its own; answers the thread's CPU time.
fn post(url: &str, count: usize) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let url: reqwest::Url = url.parse()?;
    let body = Bytes::from(vec![b'x'; 1024]);
    let post = async |n: usize| {
        let request = client.post(url.clone()).header("content-type", "application/json");
        let request = request.header("webhook-id", format!("bare_{n}")).header("x-hook-id", "bare");
        let answer = request.header("x-account-id", "bare").body(body.clone()).send().await?;
        answer.bytes().await
    };
    runtime.block_on(
        stream::iter(0..count).map(post).buffer_unordered(IN_FLIGHT).try_for_each(async |_| Ok(())),
    )?;
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = figures.split(' ').next().context("the thread's CPU time")?;
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}
