//! Children that start, end, crash and hang, on a paused clock.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::*;

type Diary = Arc<Mutex<Vec<String>>>;

fn diary() -> Diary {
    Diary::default()
}

/// Notes its start and its stop, and works until it is told to stop.
fn steady(name: &'static str, diary: &Diary) -> ChildSpec {
    let diary = diary.clone();
    ChildSpec::new(name, Restart::Permanent, move |context| {
        let diary = diary.clone();
        async move {
            diary.lock().push(format!("{name} starts"));
            sleep(Duration::from_millis(10)).await;
            diary.lock().push(format!("{name} ready"));
            context.ready.ready();
            context.stop.cancelled().await;
            sleep(Duration::from_millis(10)).await;
            diary.lock().push(format!("{name} stopped"));
            Ok(())
        }
    })
}

/// Ready at once, then fails after `lives`.
fn mortal(restart: Restart, lives: Duration) -> ChildSpec {
    ChildSpec::new("mortal", restart, move |context| async move {
        context.ready.ready();
        sleep(lives).await;
        anyhow::bail!("the end")
    })
}

fn supervisor() -> Supervisor {
    Supervisor::new(RestartStrategy::OneForOne, RestartIntensity::default())
}

async fn eventually_restarts(handle: &SupervisorHandle, count: u64) {
    let mut restarts = handle.restarts();
    let seen = timeout(Duration::from_secs(60), restarts.wait_for(|seen| *seen >= count)).await;
    assert!(seen.is_ok_and(|seen| seen.is_ok()), "{count} restarts");
}

fn state_of(handle: &SupervisorHandle, name: &str) -> ChildState {
    handle.children().into_iter().find(|child| child.name == name).expect("a child of that name")
}

#[tokio::test(start_paused = true)]
async fn children_start_in_order_and_stop_in_reverse_one_at_a_time() {
    let diary = diary();
    let stop = CancellationToken::new();
    let children = supervisor().child(steady("first", &diary)).child(steady("second", &diary));

    let running = children.start(&stop).await.unwrap();
    stop.cancel();
    let exit = running.run(&stop).await;

    assert_eq!(exit, SupervisorExit::Stopped);
    assert_eq!(
        *diary.lock(),
        ["first starts", "first ready", "second starts", "second ready", "second stopped", "first stopped"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ends_before_it_is_ready_fails_the_start_and_stops_the_others() {
    let diary = diary();
    let stop = CancellationToken::new();
    let broken = ChildSpec::new("broken", Restart::Permanent, |_| async {
        Err(anyhow::anyhow!("port 80: permission denied").context("listening"))
    });

    let failed = supervisor().child(steady("first", &diary)).child(broken).start(&stop).await;

    let error = anyhow::Error::from(failed.unwrap_err());
    assert_eq!(format!("{error:#}"), "starting broken: listening: port 80: permission denied");
    assert_eq!(diary.lock().last().unwrap(), "first stopped");
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_readiness_fails_the_start_with_its_message() {
    let stop = CancellationToken::new();
    let broken = ChildSpec::new("broken", Restart::Temporary, |_| async { panic!("no {}", "luck") });

    let failed = supervisor().child(broken).start(&stop).await;

    let error = anyhow::Error::from(failed.unwrap_err());
    assert_eq!(format!("{error:#}"), "starting broken: panicked: no luck");
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_starting_does_not_wait_for_readiness() {
    let stop = CancellationToken::new();
    let never = ChildSpec::new("never", Restart::Permanent, |context| async move {
        context.stop.cancelled().await;
        Ok(())
    });
    stop.cancel();

    let stopped = supervisor().child(never).start(&stop).await;

    assert!(matches!(stopped, Err(StartError::Stopped)));
}

#[tokio::test(start_paused = true)]
async fn five_restarts_in_ten_seconds_are_borne_and_the_sixth_is_not() {
    let stop = CancellationToken::new();
    let diary = diary();
    let started = Instant::now();
    let children = supervisor().child(steady("other", &diary));
    let running =
        children.child(mortal(Restart::Permanent, Duration::from_millis(1900))).start(&stop).await.unwrap();
    let handle = running.handle();

    let exit = running.run(&stop).await;

    let (child, last_error) = ("mortal".to_owned(), "the end".to_owned());
    assert_eq!(exit, SupervisorExit::TooManyRestarts { child, last_error });
    assert_eq!(state_of(&handle, "mortal").restarts, 5);
    assert_eq!(
        started.elapsed().as_millis() / 1000,
        11,
        "six lives of 1.9 s: the first and the sixth end 9.5 s apart"
    );
    assert_eq!(diary.lock().last().unwrap(), "other stopped");
}

#[tokio::test(start_paused = true)]
async fn slow_crashes_never_trip_the_intensity() {
    let stop = CancellationToken::new();
    // Six ends span 10.5 s: never more than five restarts within ten.
    let running = supervisor()
        .child(mortal(Restart::Permanent, Duration::from_millis(2100)))
        .start(&stop)
        .await
        .unwrap();
    let handle = running.handle();

    let watch = async {
        eventually_restarts(&handle, 25).await;
        stop.cancel();
    };
    let (exit, ()) = tokio::join!(running.run(&stop), watch);

    assert_eq!(exit, SupervisorExit::Stopped);
}

#[tokio::test(start_paused = true)]
async fn an_injected_panic_restarts_its_child_and_disturbs_no_other() {
    let diary = diary();
    let stop = CancellationToken::new();
    let children = supervisor().child(steady("first", &diary)).child(steady("second", &diary));
    let running = children.start(&stop).await.unwrap();
    let handle = running.handle();

    assert!(handle.inject_panic("first"));
    assert!(!handle.inject_panic("nobody"));
    let watch = async {
        eventually_restarts(&handle, 1).await;
        sleep(Duration::from_millis(50)).await;
        let (first, second) = (state_of(&handle, "first"), state_of(&handle, "second"));
        stop.cancel();
        (first, second)
    };
    let (_, (first, second)) = tokio::join!(running.run(&stop), watch);

    assert_eq!(first.restarts, 1);
    assert_eq!(first.state, ChildPhase::Running);
    assert_eq!(first.last_exit.as_deref(), Some("panicked: injected into first"));
    assert_eq!((second.restarts, second.state, second.last_exit), (0, ChildPhase::Running, None));
}

/// Runs one child that ends once with `result` and tells how often it was restarted.
async fn restarts_after(restart: Restart, result: Result<(), &'static str>) -> u64 {
    let stop = CancellationToken::new();
    let ended = Arc::new(Mutex::new(false));
    let child = ChildSpec::new("child", restart, move |context| {
        let again = std::mem::replace(&mut *ended.lock(), true);
        async move {
            context.ready.ready();
            sleep(Duration::from_secs(1)).await;
            if again {
                context.stop.cancelled().await;
            }
            result.map_err(anyhow::Error::msg)
        }
    });
    let running = supervisor().child(child).start(&stop).await.unwrap();
    let handle = running.handle();
    let later = async {
        sleep(Duration::from_secs(5)).await;
        let restarts = state_of(&handle, "child").restarts;
        stop.cancel();
        restarts
    };
    let (_, restarts) = tokio::join!(running.run(&stop), later);
    restarts
}

#[tokio::test(start_paused = true)]
async fn the_kind_of_a_child_decides_whether_it_is_started_anew() {
    assert_eq!(restarts_after(Restart::Permanent, Ok(())).await, 1);
    assert_eq!(restarts_after(Restart::Permanent, Err("broken")).await, 1);
    assert_eq!(restarts_after(Restart::Transient, Ok(())).await, 0);
    assert_eq!(restarts_after(Restart::Transient, Err("broken")).await, 1);
    assert_eq!(restarts_after(Restart::Temporary, Ok(())).await, 0);
    assert_eq!(restarts_after(Restart::Temporary, Err("broken")).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_does_not_stop_in_time_is_aborted() {
    let diary = diary();
    let stop = CancellationToken::new();
    let deaf = ChildSpec::new("deaf", Restart::Permanent, |context| async move {
        context.ready.ready();
        std::future::pending().await
    });
    let deaf = deaf.stop_within(Duration::from_secs(3));
    let running = supervisor().child(steady("first", &diary)).child(deaf).start(&stop).await.unwrap();
    let handle = running.handle();
    let started = Instant::now();
    stop.cancel();

    running.run(&stop).await;

    assert_eq!(started.elapsed().as_secs(), 3);
    assert_eq!(state_of(&handle, "deaf").last_exit.as_deref(), Some("aborted"));
    assert_eq!(diary.lock().last().unwrap(), "first stopped");
}

#[tokio::test(start_paused = true)]
async fn in_a_hurry_a_child_has_half_a_second_and_the_others_still_stop_in_order() {
    let diary = diary();
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let deaf = ChildSpec::new("deaf", Restart::Permanent, |context| async move {
        context.ready.ready();
        std::future::pending().await
    });
    let deaf = deaf.stop_within(Duration::from_secs(3600));
    let children = supervisor().hurried_by(hurry.clone()).child(steady("first", &diary)).child(deaf);
    let running = children.start(&stop).await.unwrap();
    let started = Instant::now();
    stop.cancel();
    let impatient = async {
        sleep(Duration::from_secs(2)).await;
        hurry.cancel();
    };

    let (exit, ()) = tokio::join!(running.run(&stop), impatient);

    assert_eq!(exit, SupervisorExit::Stopped);
    // The other child takes some milliseconds for its own stop.
    assert!((2500..2600).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    assert_eq!(diary.lock().last().unwrap(), "first stopped");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_ready_and_done_at_once_has_started() {
    let stop = CancellationToken::new();
    let brief = ChildSpec::new("brief", Restart::Temporary, |context| async move {
        context.ready.ready();
        Ok(())
    });

    let running = supervisor().child(brief).start(&stop).await.unwrap();
    let handle = running.handle();
    stop.cancel();
    running.run(&stop).await;

    assert_eq!(state_of(&handle, "brief").state, ChildPhase::Stopped);
}
