//! Files that are turned down, and what serves on.

use super::*;

#[tokio::test]
async fn a_bad_file_leaves_the_old_generation_serving_and_says_why() {
    let (host, account, mut receiver) = host_with_the_first("").await;
    let whole = versioned(2);

    host.install(FILE, &whole[..whole.len() / 3]);

    let reason = host.refused(FILE).await;
    assert!(reason.contains("was cut short"), "{reason}");
    let module = host.module(ID).await;
    assert_eq!(module["generation"], 1);
    assert_eq!(module["last_refusal"]["reason"], reason);
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000001");

    host.install(FILE, &whole);
    let module = host.generation(ID, 2).await;
    assert_eq!(module["last_refusal"], Value::Null);
    assert_eq!(host.ask("GET", "/modules", None).await.json["refused"], json!([]));
    assert_eq!(answering(&host, &account, 2, &mut receiver).await, "000002");
}

/// Drops a module that cannot be loaded into a running host.
async fn turned_down(module: &str, reason: &str) {
    let (host, account, mut receiver) = host_with_the_first("").await;
    let file = format!("lib{module}.so");

    host.install(&file, &std::fs::read(cdylib(module)).unwrap());

    let said = host.refused(&file).await;
    assert!(said.contains(reason), "{said}");
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000001");
}

#[tokio::test]
async fn a_module_that_aborts_while_it_is_opened_is_turned_down() {
    turned_down("webhooks_constructor_aborts", "SIGABRT").await;
}

#[tokio::test]
async fn a_module_that_panics_in_init_is_turned_down() {
    turned_down("webhooks_init_panics", "init panicked at").await;
}

#[tokio::test]
async fn a_module_that_panics_in_bindings_and_responders_is_turned_down() {
    turned_down("webhooks_bindings_panic", "bindings_and_responders panicked at").await;
}

#[tokio::test]
async fn a_library_that_is_no_module_is_turned_down() {
    turned_down("no_module", "does not export").await;
}
