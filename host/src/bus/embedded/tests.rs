//! What those who post are answered, and when the bus takes nothing.

use super::*;
use crate::bus::Unhandled;
use tokio::task::JoinSet;

/// A running bus whose events `answer` each in turn.
struct BusSubscription {
    bus: Arc<EmbeddedBus>,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

async fn stand(mut answer: impl FnMut(IncomingMessage) + Send + 'static) -> BusSubscription {
    let bus = Arc::new(EmbeddedBus::new(inlet()));
    let (intake, mut incoming) = mpsc::channel(2);
    let (ready, is_ready) = oneshot::channel();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let (running, token) = (bus.clone(), stop.clone());
    tasks.spawn(async move { running.run(intake.into(), ready, token).await });
    tasks.spawn(async move {
        while let Some(message) = incoming.recv().await {
            answer(message);
        }
        Ok(())
    });
    is_ready.await.unwrap();
    BusSubscription { bus, stop, tasks }
}

fn inlet() -> EventInlet {
    EventInlet::new(Arc::new(EventMemory::unbounded()))
}

fn events(texts: &[&str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
}

fn by_content(message: IncomingMessage) {
    match message.event.text() {
        b"bad" => message.acker.refuse(Refusal::event("it is bad")),
        b"later" => message.acker.postpone(),
        b"lost" => drop(message.acker),
        b"quarantined" => message
            .acker
            .unhandled(Unhandled { module: "webhooks_x".to_owned(), reason: "is quarantined".to_owned() }),
        _ => message.acker.accept(),
    }
}

#[track_caller]
fn check(found: Result<usize, PostError>, expected: Result<usize, PostError>) {
    assert_eq!(found, expected);
}

fn put_off(count: usize) -> PostError {
    PostError::Unavailable(format!("{count} were put off"))
}

#[tokio::test]
async fn a_post_is_answered_once_every_event_is() {
    let stand = stand(by_content).await;
    let inlet = stand.bus.inlet();
    let post = |texts: &'static [&str]| inlet.post(events(texts), None);

    check(post(&["a", "b", "c", "d", "e"]).await, Ok(5));
    check(post(&[]).await, Ok(0));
    check(post(&["a", "bad", "bad"]).await, Err(PostError::Refused(1, Refusal::event("it is bad"))));
    check(post(&["a", "later"]).await, Err(put_off(1)));
    check(post(&["bad", "later", "lost"]).await, Err(put_off(2)));
    let unhandled =
        PostError::Unhandled { module: "webhooks_x".to_owned(), reason: "is quarantined".to_owned() };
    check(post(&["a", "quarantined", "bad"]).await, Err(unhandled));
    check(post(&["quarantined", "later"]).await, Err(put_off(1)));

    let expected = BusCounters {
        received: 18,
        accepted: 8,
        refused: 4,
        postponed: 4,
        unhandled: 2,
        ..BusCounters::default()
    };
    assert_eq!(stand.bus.counters(), expected);
}

#[tokio::test]
async fn a_routed_post_needs_a_binding() {
    let stand = stand(by_content).await;
    let bus = &stand.bus;
    let binding = Binding::new("callevt", "call.CHANNEL_CREATE.*");
    bus.bind(std::slice::from_ref(&binding)).await.unwrap();
    let publish = |exchange, key| bus.publish(exchange, key, Bytes::from_static(b"a"));
    let unroutable = |exchange: &str, key: &str| {
        Err(PublishError::Unroutable { exchange: exchange.into(), routing_key: key.into() })
    };

    assert_eq!(publish("callevt", "call.CHANNEL_CREATE.c1").await, Ok(()));
    assert_eq!(
        publish("callevt", "call.CHANNEL_ANSWER.c1").await,
        unroutable("callevt", "call.CHANNEL_ANSWER.c1")
    );
    assert_eq!(publish("im", "call.CHANNEL_CREATE.c1").await, unroutable("im", "call.CHANNEL_CREATE.c1"));

    bus.unbind(&[binding]).await.unwrap();
    assert_eq!(
        publish("callevt", "call.CHANNEL_CREATE.c1").await,
        unroutable("callevt", "call.CHANNEL_CREATE.c1")
    );
}

#[tokio::test]
async fn a_stopped_bus_takes_nothing() {
    let mut stand = stand(by_content).await;
    stand.stop.cancel();
    while let Some(ended) = stand.tasks.join_next().await {
        ended.unwrap().unwrap();
    }

    assert_eq!(stand.bus.state(), BusState::Stopped);
    let found = stand.bus.inlet().post(events(&["a"]), None).await;
    assert!(matches!(found, Err(PostError::Unavailable(_))), "{found:?}");
}

#[tokio::test]
async fn a_poster_is_told_when_the_listener_goes_away() {
    let inlet = inlet();
    let (intake, incoming) = mpsc::channel(8);
    inlet.attach(intake.into());
    let posting = inlet.post(events(&["a", "b"]), None);
    let (found, ()) = tokio::join!(posting, async move { drop(incoming) });
    assert!(matches!(found, Err(PostError::Unavailable(_))), "{found:?}");
}

#[tokio::test]
async fn what_is_left_of_a_post_is_turned_away_once_the_bus_stops() {
    let inlet = inlet();
    let (intake, mut incoming) = mpsc::channel(1);
    inlet.attach(intake.into());
    let posting = inlet.post(events(&["a", "b", "c", "d"]), None);
    let stopping = async {
        inlet.detach();
        let mut taken = 0;
        while let Some(message) = incoming.recv().await {
            by_content(message);
            taken += 1;
        }
        taken
    };
    let (found, taken) = tokio::join!(posting, stopping);
    assert!(matches!(found, Err(PostError::Unavailable(_))), "{found:?}");
    assert_eq!(taken, 2, "the one that was in the queue and the one that waited for room");
}

#[tokio::test]
async fn an_intake_that_closes_by_itself_is_a_bug() {
    let bus = EmbeddedBus::new(inlet());
    let (intake, incoming) = mpsc::channel(1);
    drop(incoming);
    let ended = bus.run(intake.into(), oneshot::channel().0, CancellationToken::new()).await;
    assert!(ended.is_err());
}
