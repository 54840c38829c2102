//! What is published, and what the broker says to it.

use super::*;

#[tokio::test]
async fn publishing_is_confirmed_or_says_that_nobody_wants_it() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    let key = stand.bind_own("im").await;
    let publish = async |exchange: &str, key: &str| {
        stand.bus.publish(exchange, key, Bytes::from_static(br#"{"a":1}"#)).await
    };

    assert_eq!(publish("im", &key).await, Ok(()));
    let nowhere = publish("im", &unique("key")).await;
    assert!(matches!(nowhere, Err(PublishError::Unroutable { .. })), "{nowhere:?}");
    let new = unique("exchange");
    let unbound = publish(&new, "a").await;
    assert!(matches!(unbound, Err(PublishError::Unroutable { .. })), "{unbound:?}");
    assert_eq!(publish("", &stand.queue).await, Ok(()));

    for _ in 0..2 {
        let message = stand.next().await;
        assert_eq!(message.event.text(), br#"{"a":1}"#);
        message.acker.accept();
    }
    stand.channel.exchange_delete(name(&new), Default::default()).await.unwrap();
    assert_eq!(stand.end().await, 0);
}

#[tokio::test]
async fn a_deleted_exchange_costs_the_publisher_one_message_at_most() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    let exchange = unique("exchange");
    let binding = Binding::new(exchange.clone(), "a");
    stand.bus.bind(std::slice::from_ref(&binding)).await.unwrap();
    let publish = async || stand.bus.publish(&exchange, "a", Bytes::from_static(b"{}")).await;
    assert_eq!(publish().await, Ok(()));

    stand.channel.exchange_delete(name(&exchange), Default::default()).await.unwrap();
    let first = publish().await;
    assert!(matches!(first, Err(PublishError::Unavailable(_))), "{first:?}");
    let second = publish().await;
    assert!(matches!(second, Err(PublishError::Unroutable { .. })), "{second:?}");
    stand.bus.bind(&[binding]).await.unwrap();
    assert_eq!(publish().await, Ok(()));

    for _ in 0..2 {
        stand.next().await.acker.accept();
    }
    stand.channel.exchange_delete(name(&exchange), Default::default()).await.unwrap();
    assert_eq!(stand.end().await, 0);
}

/// Routing on the broker and our own idea of it agree.
#[tokio::test]
async fn the_broker_matches_keys_as_we_do() {
    let Some(uri) = broker() else { return };
    let mut stand = Stand::start(&uri).await;
    let exchange = unique("exchange");
    let patterns = ["*", "#", "a.*", "a.#", "#.b", "*.#.*", "a.#.b", "", "a..b"];
    let keys = ["", "a", "b", "a.", ".", "a.b", "a.x.b", "a..b", "a.x.y"];
    for pattern in patterns {
        let binding = Binding::new(exchange.clone(), pattern);
        stand.bus.bind(std::slice::from_ref(&binding)).await.unwrap();
        for key in keys {
            let published = stand.bus.publish(&exchange, key, Bytes::from_static(b"{}")).await;
            let expected = crate::bus::routing_key::matches(pattern, key);
            assert_eq!(published.is_ok(), expected, "{pattern:?} {key:?}: {published:?}");
            if expected {
                stand.next().await.acker.accept();
            }
        }
        stand.bus.unbind(&[binding]).await.unwrap();
    }
    stand.channel.exchange_delete(name(&exchange), Default::default()).await.unwrap();
    assert_eq!(stand.end().await, 0);
}
