//! Modules that come, change and go while the host runs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};
use tests::{
    Broker, Receiver, TestHost, cdylib, corrupted_copy, eventually, program, versioned, versioned_for_good,
};

mod pinned;
mod refused;
mod under_load;

const ID: &str = "webhooks_versioned";
const FILE: &str = "libwebhooks_versioned.so";
const FAST: &str = "[modules]\ncall_timeout_ms = 100\n";

fn event(account: &str, n: u32) -> Value {
    json!({"Event-Category": "versioned", "Event-Name": "any", "Msg-ID": format!("m{n}"), "Account-ID": account, "N": n})
}

fn told(account: &str, n: u32, what: &str) -> Value {
    let mut event = event(account, n);
    event["Do"] = what.into();
    event
}

/// A host without modules, an account with a hook, and what it is sent.
async fn empty_host(settings: &str) -> (TestHost, String, Receiver) {
    let receiver = Receiver::answering(200).await;
    let host = TestHost::configured(settings, &[]).await;
    let account = host.account("acme").await;
    // The module offers its event only once it is loaded, so the hook comes after it.
    (host, account, receiver)
}

/// The same with the first version loaded.
async fn host_with_the_first(settings: &str) -> (TestHost, String, Receiver) {
    let (host, account, receiver) = empty_host(settings).await;
    host.install(FILE, &versioned(1));
    host.generation(ID, 1).await;
    host.hook(&account, "versioned", &receiver.url("/"), json!({})).await;
    (host, account, receiver)
}

/// Publishes one event and says which version answered it.
async fn answering(host: &TestHost, account: &str, n: u32, receiver: &mut Receiver) -> String {
    host.publish(event(account, n)).await;
    let payload = receiver.next_request().await.json();
    assert_eq!(payload["n"], n);
    payload["version"].as_str().unwrap().trim_start_matches("hookline-version-").to_owned()
}

#[tokio::test]
async fn a_dropped_file_serves_and_a_deleted_one_no_more() {
    let (host, account, mut receiver) = host_with_the_first("").await;
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000001");

    std::fs::remove_file(host.plugin(FILE)).unwrap();
    host.gone(ID).await;
    host.publish(event(&account, 2)).await;
    host.install(FILE, &versioned(2));

    // Generations are counted on, so that nobody takes the one for the other.
    host.generation(ID, 2).await;
    assert_eq!(answering(&host, &account, 3, &mut receiver).await, "000002");
    assert!(receiver.waiting().is_empty());
    assert_eq!(host.module(ID).await["pinned"], json!([]));
}

/// Replaces the first version by the second in one of the ways in which people copy files.
async fn replaced(way: impl FnOnce(&TestHost, &[u8])) {
    let (host, account, mut receiver) = host_with_the_first("").await;

    way(&host, &versioned(2));

    let module = host.module_with(ID, |module| module["generation"] != 1).await;
    assert_eq!(module["generation"], 2);
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000002");
    // A rescan finds nothing new.
    host.inside().parts.modules.reloader.scan().await.unwrap();
    let module = host.module(ID).await;
    assert_eq!((&module["generation"], &module["last_refusal"]), (&json!(2), &Value::Null));
}

#[tokio::test]
async fn replaced_by_a_rename() {
    replaced(|host, bytes| host.install(FILE, bytes)).await;
}

#[tokio::test]
async fn replaced_by_writing_over_it_in_place() {
    replaced(|host, bytes| std::fs::write(host.plugin(FILE), bytes).unwrap()).await;
}

#[tokio::test]
async fn replaced_by_deleting_and_writing_anew() {
    replaced(|host, bytes| {
        std::fs::remove_file(host.plugin(FILE)).unwrap();
        std::fs::write(host.plugin(FILE), bytes).unwrap();
    })
    .await;
}

#[tokio::test]
async fn replaced_by_a_hard_link_as_cargo_does() {
    replaced(|host, bytes| {
        let built = host.folder().join("built");
        std::fs::write(&built, bytes).unwrap();
        std::fs::remove_file(host.plugin(FILE)).unwrap();
        std::fs::hard_link(&built, host.plugin(FILE)).unwrap();
    })
    .await;
}

#[tokio::test]
async fn replaced_by_another_link() {
    replaced(|host, bytes| {
        let other = host.folder().join("versions");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("2.so"), bytes).unwrap();
        symlink(other.join("2.so"), host.plugin(".link")).unwrap();
        std::fs::rename(host.plugin(".link"), host.plugin(FILE)).unwrap();
    })
    .await;
}

#[tokio::test]
async fn replaced_behind_a_link_where_nobody_is_notified() {
    let (host, account, mut receiver) = empty_host("").await;
    let target = host.folder().join("target.so");
    std::fs::write(&target, versioned(1)).unwrap();
    symlink(&target, host.plugin(FILE)).unwrap();
    host.generation(ID, 1).await;
    host.hook(&account, "versioned", &receiver.url("/"), json!({})).await;

    std::fs::write(&target, versioned(2)).unwrap();

    host.generation(ID, 2).await;
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000002");
}

#[tokio::test]
async fn a_file_that_grows_is_loaded_once_it_is_whole() {
    let (host, account, mut receiver) = host_with_the_first("").await;
    let bytes = versioned(2);
    let half = bytes.len() / 2;
    let mut growing = File::create(host.plugin(FILE)).unwrap();
    growing.write_all(&bytes[..half]).unwrap();
    growing.flush().unwrap();

    // Another file that is taken shows that the growing one was seen.
    std::fs::copy(cdylib("webhooks_skel"), host.plugin(".skel")).unwrap();
    std::fs::rename(host.plugin(".skel"), host.plugin("libwebhooks_skel.so")).unwrap();
    host.generation("webhooks_skel", 1).await;
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000001");
    growing.write_all(&bytes[half..]).unwrap();
    drop(growing);

    let module = host.generation(ID, 2).await;
    assert_eq!(module["last_refusal"], Value::Null);
    assert_eq!(answering(&host, &account, 2, &mut receiver).await, "000002");
}

#[tokio::test]
async fn a_file_that_only_lost_its_stamp_is_no_new_generation() {
    let (host, _, _) = host_with_the_first("").await;

    std::fs::write(host.plugin(FILE), versioned(1)).unwrap();
    host.inside().parts.modules.reloader.scan().await.unwrap();

    assert_eq!(host.module(ID).await["generation"], 1);
}

#[tokio::test]
async fn events_are_bound_and_unbound_with_the_generations_that_want_them() {
    let broker = Broker::shared();
    let settings = broker.settings(&Broker::queue_of_its_own());
    let (host, _, _) = empty_host(&settings).await;
    // Versions of its own, as other hosts on this broker want what theirs bind.
    host.install(FILE, &versioned(101));
    host.generation(ID, 1).await;
    let status = async |version: &str| {
        let path = format!("/events?exchange=tests&routing_key=versioned.hookline-version-{version}");
        host.ask("POST", &path, Some(event("nobody", 1))).await.status.as_u16()
    };
    assert_eq!((status("000101").await, status("000102").await), (202, 422));

    host.install(FILE, &versioned(102));
    host.generation(ID, 2).await;

    let (host, status) = (&host, &status);
    let unbound = move || async move { (status("000101").await == 422).then_some(()) };
    eventually("what the old generation wanted is unbound", unbound).await;
    assert_eq!(status("000102").await, 202);
    std::fs::remove_file(host.plugin(FILE)).unwrap();
    host.gone(ID).await;
    let unbound = move || async move { (status("000102").await == 422).then_some(()) };
    eventually("what nobody wants is unbound", unbound).await;
}

#[tokio::test]
async fn a_call_that_hangs_while_the_module_is_replaced_costs_its_event_and_pins_its_library() {
    let (host, account, mut receiver) = host_with_the_first(FAST).await;
    let hanging = told(&account, 1, "hang");
    let hanging = host.publish(hanging);
    let replaced = async {
        host.module_with(ID, |module| module["calls"] == 1).await;
        host.install(FILE, &versioned(2));
        host.generation(ID, 2).await
    };

    tokio::join!(hanging, replaced);

    assert_eq!(answering(&host, &account, 2, &mut receiver).await, "000002");
    let module = host.module_with(ID, |module| module["pinned"] != json!([])).await;
    assert_eq!(module["pinned"][0]["generation"], 1);
    assert_eq!(module["failures"], 1);
}

#[tokio::test]
async fn a_call_in_hand_ends_in_its_generation_and_the_next_event_goes_to_the_new_one() {
    let (host, account, mut receiver) = host_with_the_first("[modules]\ncall_timeout_ms = 10000\n").await;
    let mut slow = told(&account, 1, "take a while");
    slow["Ms"] = "300".into();
    let slow = host.publish(slow);
    let next = async {
        host.module_with(ID, |module| module["calls"] == 1).await;
        host.install(FILE, &versioned(2));
        host.generation(ID, 2).await;
        host.publish(event(&account, 2)).await;
    };

    tokio::join!(slow, next);

    let payloads = [receiver.next_request().await.json(), receiver.next_request().await.json()];
    let version_of = |n: u32| payloads.iter().find(|payload| payload["n"] == n).unwrap()["version"].clone();
    assert_eq!(version_of(1), "hookline-version-000001");
    assert_eq!(version_of(2), "hookline-version-000002");
    assert_eq!(host.module(ID).await["pinned"], json!([]));
}

#[tokio::test]
async fn a_thread_that_a_module_leaves_behind_keeps_its_library_mapped() {
    let (host, account, mut receiver) = host_with_the_first("").await;
    host.publish(told(&account, 1, "leave a thread")).await;
    receiver.next_request().await;

    host.install(FILE, &versioned(2));

    let module = host.module_with(ID, |module| module["pinned"] != json!([])).await;
    let reason = module["pinned"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("a thread that it started still runs"), "{reason}");
    assert_eq!(answering(&host, &account, 2, &mut receiver).await, "000002");
}

#[tokio::test]
async fn a_library_that_the_loader_never_lets_go_is_replaced_and_stays_mapped() {
    let (host, account, mut receiver) = empty_host("").await;
    host.install(FILE, &versioned_for_good(1));
    host.generation(ID, 1).await;
    host.hook(&account, "versioned", &receiver.url("/"), json!({})).await;
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000001");

    host.install(FILE, &versioned(2));

    let module = host.module_with(ID, |module| module["pinned"] != json!([])).await;
    let reason = module["pinned"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("NODELETE"), "{reason}");
    assert_eq!(answering(&host, &account, 2, &mut receiver).await, "000002");
}

#[tokio::test]
async fn an_old_generation_is_unmapped_and_its_copy_deleted() {
    let (host, account, mut receiver) = host_with_the_first("").await;
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000001");

    host.install(FILE, &versioned(2));
    host.generation(ID, 2).await;

    let released = || async {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let copies = std::fs::read_dir(host.folder().join("data/generations")).unwrap().count();
        let of_host = |line: &&str| line.contains(&*host.folder().to_string_lossy()) && line.ends_with(".so");
        let mapped: BTreeSet<&str> =
            maps.lines().filter(of_host).filter_map(|line| line.split('/').next_back()).collect();
        (copies == 1 && mapped.len() == 1 && mapped.iter().all(|name| name.contains(".g2."))).then_some(())
    };
    eventually("only the new generation is mapped", released).await;
    assert!(host.module(ID).await["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 10_000));
}

#[tokio::test]
async fn a_renamed_file_takes_over_and_a_second_file_of_one_id_waits_for_the_first_to_go() {
    let (host, account, mut receiver) = host_with_the_first("").await;

    host.install("second.so", &versioned(2));
    let reason = host.refused("second.so").await;
    assert!(reason.contains("has the id webhooks_versioned that"), "{reason}");
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000001");

    std::fs::remove_file(host.plugin(FILE)).unwrap();
    host.generation(ID, 2).await;
    assert_eq!(answering(&host, &account, 2, &mut receiver).await, "000002");

    std::fs::rename(host.plugin("second.so"), host.plugin("third.so")).unwrap();
    let third = host.module_with(ID, |module| module["file"].as_str().unwrap().ends_with("third.so")).await;
    assert_eq!(third["generation"], 3);
    assert_eq!(answering(&host, &account, 3, &mut receiver).await, "000002");
}

#[tokio::test]
async fn a_file_that_others_may_write_is_refused_until_they_may_not() {
    let (host, account, mut receiver) = host_with_the_first("").await;
    let allow = |mode| std::fs::set_permissions(host.plugin(".x"), PermissionsExt::from_mode(mode)).unwrap();
    std::fs::write(host.plugin(".x"), versioned(2)).unwrap();
    allow(0o666);
    std::fs::rename(host.plugin(".x"), host.plugin(FILE)).unwrap();

    let reason = host.refused(FILE).await;
    assert!(reason.contains("can be written by others than its owner (mode 666)"), "{reason}");
    assert!(reason.contains(&format!("run: chmod go-w {}", host.plugin(FILE).display())), "{reason}");
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000001");

    std::fs::set_permissions(host.plugin(FILE), PermissionsExt::from_mode(0o644)).unwrap();
    host.generation(ID, 2).await;
}

#[tokio::test]
async fn a_folder_that_others_may_write_stops_the_host_from_starting_and_a_running_one_from_loading() {
    let (host, account, mut receiver) = host_with_the_first("").await;
    let plugins = host.folder().join("plugins");
    let allow = |mode| std::fs::set_permissions(&plugins, PermissionsExt::from_mode(mode)).unwrap();

    allow(0o777);
    let error = format!("{:#}", host.inside().parts.modules.reloader.scan().await.unwrap_err());
    assert!(error.contains("chmod go-w"), "{error}");
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000001");
    let stopped = host.stopped().await;
    let error = stopped.refusal_to_start().await;
    assert!(error.contains("(plugins_dir, --plugins): can be written by others than its owner"), "{error}");
}

#[tokio::test]
async fn a_module_is_loaded_again_when_somebody_asks_for_it() {
    let (host, account, mut receiver) = host_with_the_first(FAST).await;
    for n in 1..=3 {
        host.publish(told(&account, n, "hang")).await;
    }
    assert_eq!(host.module(ID).await["state"], "quarantined");

    let answer = host.ask("POST", "/modules/webhooks_versioned/reload", None).await;

    assert_eq!(answer.status, 200, "{}", answer.json);
    assert_eq!(answer.json["data"]["generation"], 2);
    assert_eq!(answer.json["data"]["state"], "active");
    assert_eq!(answering(&host, &account, 4, &mut receiver).await, "000001");
    assert_eq!(host.ask("POST", "/modules/webhooks_nothing/reload", None).await.status, 404);
    let without_token = host.request("POST", "/modules/webhooks_versioned/reload").send().await.unwrap();
    assert_eq!(without_token.status(), 401);

    let token = host.token().to_owned();
    let words = ["modules", "reload", "--url", &host.url(), "--token", &token];
    let said = tests::say(&words).await.success();
    assert_eq!(said, "webhooks_versioned 1.0.0 serves as generation 3\n");
}

#[tokio::test]
async fn without_hot_reload_files_are_taken_only_on_request() {
    let (host, account, mut receiver) = empty_host("[modules]\nhot_reload = false\n").await;
    host.install(FILE, &versioned(1));
    let host = host.restart().await;
    host.hook(&account, "versioned", &receiver.url("/"), json!({})).await;
    host.install(FILE, &versioned(2));
    assert_eq!(answering(&host, &account, 1, &mut receiver).await, "000001");

    assert_eq!(host.ask("POST", "/modules/webhooks_versioned/reload", None).await.status, 200);

    assert_eq!(answering(&host, &account, 2, &mut receiver).await, "000002");
}

#[tokio::test]
async fn a_module_in_a_process_of_its_own_dies_alone_and_its_event_is_handed_over_again() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured("[modules]\nisolation = \"process\"\n", &["webhooks_misbehaving"]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let mark = host.folder().join("mark");

    host.publish(json!({
        "Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "abort once", "Say": "hello",
        "Mark": mark,
    }))
    .await;

    assert_eq!(receiver.next_request().await.json()["said"], "hello");
    let module = host.module("webhooks_misbehaving").await;
    assert_eq!(module["isolation"], "process");
    assert_eq!((&module["failures"], &module["process"]["deaths"]), (&json!(0), &json!(1)));
}

#[tokio::test]
async fn an_event_that_kills_three_processes_is_kept_and_the_next_one_is_served() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let settings = format!("{}\n[modules]\nisolation = \"process\"\n", broker.settings(&queue));
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(&settings, &["webhooks_misbehaving"]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let deed = |what: &str| json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": what, "Say": "hello"});

    broker.publish("tests", "misbehave.now", &deed("segfault"), tests::Published::Plain).await;
    broker.publish("tests", "misbehave.now", &deed("fire"), tests::Published::Plain).await;

    assert_eq!(receiver.next_request().await.json()["said"], "hello");
    let failed = host.ask("GET", "/modules/webhooks_misbehaving/failed", None).await.json["data"].clone();
    assert_eq!(failed.as_array().map(Vec::len), Some(1), "{failed}");
    assert_eq!(failed[0]["kind"], "killed");
    let settled = || async { (broker.waiting_in(&queue).await == 0).then_some(()) };
    eventually("the queue is empty", settled).await;
    assert_eq!(broker.waiting_in(&format!("{queue}.dead")).await, 0);
}

#[tokio::test]
async fn check_says_of_a_file_that_would_kill_the_host_why_it_is_refused() {
    let said =
        tests::ended(program(&["check", &cdylib("webhooks_constructor_aborts").to_string_lossy()])).await;
    let line = said.one_line_failure();
    assert!(line.contains("SIGABRT"), "{line}");
}

/// Beyond the 1,021 reloads at which a process has no thread-local keys left.
#[tokio::test]
async fn a_process_survives_more_generations_than_it_has_thread_local_keys() {
    use hookline::model::ModuleId;
    use hookline::module::generation::{Generation, IsolationMode, LibrarySource, ReleaseResult};
    use hookline::module::tls_keys;
    let folder = tempfile::tempdir().unwrap();
    let original = corrupted_copy(&cdylib("webhooks_versioned"), folder.path(), "original.so", |_| {});
    let within = std::time::Duration::from_secs(20);
    let mut keys = BTreeSet::new();

    for number in 0..1100 {
        let copy = folder.path().join(format!("g{number}.so"));
        // The loader goes by the name first; what is unmapped it does not know by any other.
        std::fs::hard_link(&original, &copy).unwrap();
        let source = LibrarySource { module: ModuleId::new(ID), number, copy: &copy };
        let generation =
            Generation::load(source, tests::lendable(), IsolationMode::Here, within).await.unwrap();
        let fate = std::sync::Arc::new(generation).release(within).await;
        assert_eq!(fate, ReleaseResult::Released, "generation {number}");
        keys.insert(tls_keys::next_key());
    }

    // Other tests take some in the same process.
    assert!(keys.iter().all(|key| *key < 200), "{keys:?}");
    assert!(!Path::new(&folder.path().join("g7.so")).exists());
}
