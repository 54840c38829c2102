//! Modules as operators meet them: files in the plugins folder, good and bad.

use serde_json::{Value, json};
use tests::{Answer, Receiver, TestHost, cdylib, corrupted_copy, eventually, say, with_manifest_bytes};

const FAST: &str = "[modules]\ncall_timeout_ms = 50\n";

fn misbehave(account: &str, misdeed: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": misdeed, "Say": "hello"})
}

#[tokio::test]
async fn a_module_in_the_folder_answers_its_events() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&["webhooks_misbehaving"]).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &receiver.url("/told"), json!({})).await;

    host.publish(misbehave(&account, "fire")).await;

    let request = receiver.next_request().await;
    assert_eq!(request.path, "/told");
    assert_eq!(request.header("x-hook-id"), hook);
    assert_eq!(request.json()["said"], "hello");
    let module = host.module("webhooks_misbehaving").await;
    assert_eq!(module["generation"], 1);
    assert_eq!(module["state"], "active");
    assert_eq!(module["calls"], 1);
    assert_eq!(module["bindings"], json!([{"exchange": "tests", "routing_key": "misbehave.#"}]));
    assert_eq!(module["responders"], json!([{"category": "misbehave", "name": "*"}]));
}

/// Does a misdeed, then sees that the module still answers and that the misdeed fired nothing.
#[track_caller]
fn costs_one_event(misdeed: &'static str) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let mut receiver = Receiver::answering(200).await;
        let host = TestHost::with_modules(&["webhooks_misbehaving"]).await;
        let account = host.account("acme").await;
        host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

        host.publish(misbehave(&account, misdeed)).await;
        let failures = host.module("webhooks_misbehaving").await["failures"].clone();
        host.publish(misbehave(&account, "fire")).await;

        assert_eq!(failures, 1, "{place}: {misdeed}");
        assert_eq!(receiver.next_request().await.json()["said"], "hello");
        assert!(receiver.waiting().is_empty(), "{place}: {misdeed} fired something");
    }
}

#[tokio::test]
async fn a_panicking_module_costs_only_its_own_event() {
    costs_one_event("panic").await;
}

#[tokio::test]
async fn a_panic_whose_value_panics_again_costs_only_its_own_event() {
    costs_one_event("panic again when dropped").await;
}

#[tokio::test]
async fn a_failing_module_costs_only_its_own_event() {
    costs_one_event("fail").await;
}

#[tokio::test]
async fn what_was_fired_before_a_failure_is_not_sent() {
    costs_one_event("fire and fail").await;
}

#[tokio::test]
async fn an_answer_that_is_not_json_costs_only_its_own_event() {
    costs_one_event("fire what is not json").await;
}

#[tokio::test]
async fn an_answer_that_is_not_utf_8_costs_only_its_own_event() {
    costs_one_event("fire what is not text").await;
}

#[tokio::test]
async fn a_firing_for_another_account_costs_its_event_and_shows_nobody_anything() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&["webhooks_misbehaving"]).await;
    let (account, other) = (host.account("acme").await, host.account("other").await);
    for account in [&account, &other] {
        host.hook(account, "misbehaving", &receiver.url("/"), json!({})).await;
    }

    let mut event = misbehave(&account, "fire for another account");
    event["Other"] = other.as_str().into();
    host.publish(event).await;
    assert_eq!(host.module("webhooks_misbehaving").await["failures"], 1);
    host.publish(misbehave(&account, "fire")).await;

    assert_eq!(receiver.next_request().await.header("x-account-id"), account);
    assert!(receiver.waiting().is_empty(), "the other account, or the failed call, got something");
}

#[tokio::test]
async fn a_firing_without_a_name_costs_only_its_own_event() {
    costs_one_event("fire without a name").await;
}

#[tokio::test]
async fn an_answer_of_100_megabytes_costs_only_its_own_event() {
    costs_one_event("fire 100 MB").await;
}

#[tokio::test]
async fn firing_without_end_costs_only_its_own_event() {
    costs_one_event("fire without end").await;
}

#[tokio::test]
async fn a_hanging_call_is_given_up_and_the_module_goes_on() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(FAST, &["webhooks_misbehaving"]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

    host.publish(misbehave(&account, "hang")).await;
    host.publish(misbehave(&account, "fire")).await;

    assert_eq!(receiver.next_request().await.json()["said"], "hello");
    let module = host.module("webhooks_misbehaving").await;
    assert_eq!((&module["hung"], &module["failures"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn of_events_that_come_together_only_those_that_hang_are_lost() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(FAST, &["webhooks_misbehaving"]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

    let misdeeds = ["fire", "hang", "fire", "fail", "hang", "fire"];
    let lines = misdeeds.map(|misdeed| misbehave(&account, misdeed).to_string()).join("\n");
    let post = host.request("POST", "/events").header("x-auth-token", host.token());
    let post = post.header("content-type", "application/x-ndjson").body(lines);
    assert_eq!(Answer::of(post).await.status, 202);

    for _ in 0..3 {
        receiver.next_request().await;
    }
    host.settled().await;
    assert!(receiver.waiting().is_empty());
    let module = host.module("webhooks_misbehaving").await;
    assert_eq!((&module["hung"], &module["failures"]), (&json!(2), &json!(3)));
}

#[tokio::test]
async fn a_module_that_keeps_hanging_is_quarantined_and_the_others_go_on() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(FAST, &["webhooks_misbehaving", "older_minor"]).await;
    let account = host.account("acme").await;
    host.hook(&account, "older_minor", &receiver.url("/older"), json!({})).await;

    for _ in 0..3 {
        host.publish(misbehave(&account, "hang")).await;
    }
    host.publish(misbehave(&account, "fire")).await;
    host.publish(json!({"Event-Category": "older", "Event-Name": "any", "Account-ID": account})).await;

    assert_eq!(host.module("webhooks_misbehaving").await["state"], "quarantined");
    assert_eq!(receiver.next_request().await.path, "/older");
}

#[tokio::test]
async fn a_module_built_against_an_older_minor_version_is_loaded_and_answers() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&["older_minor"]).await;
    let account = host.account("acme").await;
    host.hook(&account, "older_minor", &receiver.url("/"), json!({})).await;

    host.publish(json!({"Event-Category": "older", "Event-Name": "any", "Account-ID": account})).await;

    assert_eq!(receiver.next_request().await.json()["account_id"], account);
    assert_eq!(host.module("webhooks_older_minor").await["state"], "active");
}

/// Puts a damaged copy beside a good module: the one is refused for the reason, the other answers.
async fn refused(file: &str, of: &str, damage: impl FnOnce(&mut Vec<u8>), reason: &str) {
    let folder = tempfile::tempdir().unwrap();
    let bad = corrupted_copy(&cdylib(of), folder.path(), file, damage);
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_files("", &[bad, cdylib("older_minor")]).await;
    let account = host.account("acme").await;
    host.hook(&account, "older_minor", &receiver.url("/"), json!({})).await;

    host.publish(json!({"Event-Category": "older", "Event-Name": "any", "Account-ID": account})).await;

    let told = host.refusal_of(file).await;
    assert!(told.contains(reason), "{told}");
    assert!(told.starts_with(file), "{told}");
    receiver.next_request().await;
}

#[tokio::test]
async fn a_text_file_is_refused_by_what_it_is() {
    let text = |bytes: &mut Vec<u8>| *bytes = b"just text\n".to_vec();
    refused(
        "text.so",
        "no_module",
        text,
        "is not a dynamic library of this system: it begins with \"just text\\n\"",
    )
    .await;
}

#[tokio::test]
async fn an_empty_file_is_refused() {
    refused("empty.so", "no_module", Vec::clear, "is empty").await;
}

#[tokio::test]
async fn a_library_that_is_no_module_is_refused_by_what_is_missing() {
    refused("no_module.so", "no_module", |_| {}, "does not export HOOKLINE_MODULE_MANIFEST").await;
}

#[tokio::test]
async fn a_module_of_another_major_version_is_told_what_to_change() {
    let other_major = |bytes: &mut Vec<u8>| with_manifest_bytes(bytes, 8, &2_u16.to_le_bytes());
    refused(
        "major.so",
        "webhooks_misbehaving",
        other_major,
        "was built against plugin-api 2.1, this host speaks 1.1: set `plugin-api = \"~1.1\"` in its Cargo.toml",
    )
    .await;
}

#[tokio::test]
async fn a_module_of_a_newer_minor_version_is_refused() {
    let newer = |bytes: &mut Vec<u8>| with_manifest_bytes(bytes, 10, &99_u16.to_le_bytes());
    refused("newer.so", "webhooks_misbehaving", newer, "or load it into a host that speaks 1.99").await;
}

#[tokio::test]
async fn a_module_for_another_processor_is_refused() {
    // e_machine of an ELF file: 183 is AArch64, 243 is RISC-V.
    let other = if cfg!(target_arch = "aarch64") { 243 } else { 183 };
    refused("machine.so", "webhooks_misbehaving", move |bytes| bytes[18] = other, "was built for").await;
}

#[tokio::test]
async fn a_module_with_another_layout_of_the_boundary_is_refused() {
    refused("layout.so", "other_layout", |_| {}, "does not fit this host's plugin-api").await;
}

#[tokio::test]
async fn a_module_that_panics_in_init_is_refused_with_message_and_place() {
    refused("init.so", "webhooks_init_panics", |_| {}, "init panicked at").await;
}

#[tokio::test]
async fn a_module_cut_short_at_any_tenth_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cut = |tenth: usize| {
        let shorten = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() * tenth / 10);
        corrupted_copy(&cdylib("webhooks_misbehaving"), folder.path(), &format!("cut{tenth}.so"), shorten)
    };
    let files: Vec<_> = (1..10).map(cut).collect();

    let host = TestHost::with_files("", &files).await;

    for tenth in 1..10 {
        let told = host.refusal_of(&format!("cut{tenth}.so")).await;
        assert!(told.contains("was cut short") || told.contains("is not a dynamic library"), "{told}");
    }
}

#[tokio::test]
async fn of_two_files_with_one_id_the_second_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = corrupted_copy(&cdylib("webhooks_misbehaving"), folder.path(), "a.so", |_| {});
    let second = corrupted_copy(&cdylib("webhooks_misbehaving"), folder.path(), "b.so", |_| {});

    let host = TestHost::with_files("", &[first, second]).await;

    let told = host.refusal_of("b.so").await;
    assert!(told.contains("has the id webhooks_misbehaving that"), "{told}");
    assert_eq!(host.module("webhooks_misbehaving").await["state"], "active");
}

#[tokio::test]
async fn a_file_whose_digest_is_not_allowed_is_refused() {
    let settings = format!("[modules]\nallow_sha256 = [\"{}\"]\n", "0".repeat(64));

    let host = TestHost::configured(&settings, &["webhooks_misbehaving"]).await;

    let told = host.refusal_of("libwebhooks_misbehaving.so").await;
    assert!(told.contains("which modules.allow_sha256 does not list"), "{told}");
}

#[tokio::test]
async fn metadata_documents_are_stored_and_written_again_only_when_they_changed() {
    let host = TestHost::with_modules(&["webhooks_misbehaving"]).await;
    let document = |host: &TestHost| {
        let store = host.inside().parts.stores.documents.clone();
        async move { store.metadata().await.unwrap().remove(0) }
    };
    let first = document(&host).await;

    let host = host.restart().await;

    assert_eq!(first["_id"], "webhooks_misbehaving");
    assert_eq!(first["pvt_type"], "webhook_meta");
    assert_eq!(first["name"], "Misbehaving");
    assert_eq!(document(&host).await, first);
}

#[tokio::test]
async fn stored_metadata_documents_are_reset_to_what_their_modules_say() {
    let host = TestHost::with_modules(&["webhooks_channel_create", "webhooks_object"]).await;
    let store = &host.inside().parts.stores.documents;
    let stored = || async {
        let mut documents = store.metadata().await.unwrap();
        documents.sort_by_key(|document| document["_id"].to_string());
        for document in &mut documents {
            document.retain(|key, _| !matches!(key.as_str(), "_rev" | "pvt_created" | "pvt_modified"));
        }
        json!(documents)
    };
    let both = || async {
        let stored = stored().await;
        (stored.as_array().unwrap().len() == 2).then_some(stored)
    };
    let original = eventually("both documents are written", both).await;
    for mut document in store.metadata().await.unwrap() {
        document.insert("name".to_owned(), json!("Changed"));
        document.insert("colour".to_owned(), json!("green"));
        store.save_metadata(document).await.unwrap();
    }
    let gone = json!({"_id": "webhooks_gone", "pvt_type": "webhook_meta", "name": "Gone"});
    store.save_metadata(gone.as_object().unwrap().clone()).await.unwrap();
    let (url, token) = (host.url(), host.token());
    let reset = async |words: &[&str]| {
        say(&[&["reset-metadata"], words, &["--url", &url, "--token", token]].concat()).await
    };

    assert_eq!(reset(&["object"]).await.success(), "reinitialized hooks: webhooks_object\n");
    assert_eq!(stored().await[2], original[1]);
    assert_eq!(stored().await[0]["colour"], "green");
    let all = reset(&["--json"]).await.success();
    let expected = json!({"reinitialized": ["webhooks_channel_create", "webhooks_object"], "removed": ["webhooks_gone"]});
    assert_eq!(serde_json::from_str::<Value>(&all).unwrap(), expected);
    assert_eq!(stored().await, original);
    let unknown = reset(&["gone"]).await.one_line_failure();
    assert!(unknown.contains("404") && unknown.contains("webhooks_gone"), "{unknown}");
    // What is taken away for good can come again.
    store.save_metadata(gone.as_object().unwrap().clone()).await.unwrap();
}
