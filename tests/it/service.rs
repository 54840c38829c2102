//! A host under a service manager: what it is told, and when.

use tests::{Home, PATIENCE};
use tokio::net::UnixDatagram;

/// What a host says next to its service manager.
async fn next(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 1024];
    let received = tokio::time::timeout(PATIENCE, manager.recv(&mut bytes)).await;
    let length = received.expect("the host should have said something by now").unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn the_service_manager_is_told_of_start_life_and_stop() {
    let home = Home::new("", &[]);
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    let mut command = home.run();
    command.env("NOTIFY_SOCKET", home.path("notify")).env("WATCHDOG_USEC", "20000");
    let program = home.start_as(command).await;

    assert_eq!(next(&manager).await, format!("READY=1\nSTATUS=listening on {}\n", program.url()));
    for _ in 0..3 {
        assert_eq!(next(&manager).await, "WATCHDOG=1\n");
    }
    let (said, _home) = program.signalled("TERM").await;

    assert_eq!(said.code, Some(0), "{}", said.err);
    let mut last = next(&manager).await;
    while last == "WATCHDOG=1\n" {
        last = next(&manager).await;
    }
    assert_eq!(last, "STOPPING=1\n");
    assert!(manager.try_recv(&mut [0; 1]).is_err(), "nothing follows");
}

#[tokio::test]
async fn a_host_that_nobody_watches_shows_no_life() {
    let home = Home::new("", &[]);
    let manager = UnixDatagram::bind(home.path("notify")).unwrap();
    let mut command = home.run();
    command.env("NOTIFY_SOCKET", home.path("notify")).env_remove("WATCHDOG_USEC");

    home.start_as(command).await.signalled("TERM").await;

    assert!(next(&manager).await.starts_with("READY=1\n"));
    assert_eq!(next(&manager).await, "STOPPING=1\n");
}

#[tokio::test]
async fn a_manager_that_does_not_listen_does_not_keep_the_host_from_its_work() {
    let home = Home::new("", &[]);
    let mut command = home.run();
    command.env("NOTIFY_SOCKET", home.path("nobody"));

    let (said, _) = home.start_as(command).await.signalled("TERM").await;

    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("the service manager was not told"), "{}", said.err);
}
