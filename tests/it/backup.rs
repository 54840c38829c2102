//! Backups of a host at work, and folders that they are restored into, by the program's own commands.

use std::path::Path;

use serde_json::{Value, json};
use tests::{Answer, Home, Program, Receiver, eventually, say};
use tokio::sync::watch;

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// Hooks that fail are not paused, so that what is owed to them is sent when it is due.
const NO_PAUSES: &str = "[disabler]\ndisable_disabler = true\n";

fn fire(account: &str, said: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": said})
}

async fn ask(program: &Program, method: &str, path: &str, body: Value) -> Answer {
    let method = method.parse().unwrap();
    let request = reqwest::Client::new().request(method, format!("{}{path}", program.url()));
    Answer::of(request.header("x-auth-token", program.token()).json(&body)).await
}

/// The id of what was created.
#[track_caller]
fn made(answer: Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.json);
    answer.json["data"]["id"].as_str().unwrap().to_owned()
}

/// A new account with a hook.
async fn account(program: &Program, uri: &str, more: Value) -> String {
    let account = made(ask(program, "PUT", "/v2/accounts", json!({"data": {"name": "acme"}})).await);
    let mut hook = json!({"name": "n", "hook": "misbehaving", "uri": uri, "format": "json", "retries": 4});
    hook.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let path = format!("/v2/accounts/{account}/webhooks");
    made(ask(program, "PUT", &path, json!({"data": hook})).await);
    account
}

async fn back_up(program: &Program, file: &Path) -> String {
    let data = program.folder().join("data").display().to_string();
    let file = file.display().to_string();
    say(&["backup", &file, "--url", program.url(), "--data", &data]).await.success()
}

async fn restore(file: &Path, home: &Home) -> String {
    let data = home.path("data").display().to_string();
    say(&["restore", &file.display().to_string(), "--data", &data]).await.success()
}

#[tokio::test]
async fn a_backup_made_under_load_has_what_was_taken_before_it_and_the_host_goes_on() {
    let (mut reached, lost) = (Receiver::answering(200).await, Receiver::closed());
    let program = Home::new(NO_PAUSES, MODULE).start().await;
    let busy = account(&program, &reached.url("/"), json!({})).await;
    let owed = account(&program, &lost.url("/"), json!({"retry_schedule_ms": [10_000]})).await;
    for n in 0..20 {
        let taken = ask(&program, "POST", "/events", fire(&owed, &format!("{n:02}"))).await;
        assert_eq!(taken.status, 202, "{}", taken.json);
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("hookline.backup");

    // Events come in before, while and after the backup is made.
    let (count, mut counted) = watch::channel(0);
    let load = async {
        loop {
            let events: Vec<Value> = (0..20).map(|_| fire(&busy, "load")).collect();
            let taken = ask(&program, "POST", "/events", Value::Array(events)).await;
            assert_eq!(taken.status, 202, "{}", taken.json);
            count.send_modify(|count| *count += 1);
        }
    };
    let backup = async {
        counted.wait_for(|count| *count > 3).await.unwrap();
        let said = back_up(&program, &file).await;
        let after = *counted.borrow() + 3;
        counted.wait_for(|count| *count >= after).await.unwrap();
        said
    };
    let said = tokio::select! {
        never = load => never,
        said = backup => said,
    };
    assert!(said.contains("2 accounts, 2 hooks, ") && said.contains("deliveries owed"), "{said}");
    reached.next_request().await;
    let hooks = hooks_of(&program).await;
    // What it is worth shows when nothing of the first host is left.
    drop(program.killed().await);
    let lost = lost.open(200);
    let home = Home::new(NO_PAUSES, MODULE);
    let restored = restore(&file, &home).await;
    let program = home.start().await;

    assert!(restored.contains("2 accounts, 2 hooks, "), "{restored}");
    assert_eq!(hooks_of(&program).await, hooks);
    check_all_arrive(lost).await;
}

/// The hooks without what each run of a host finds out anew.
async fn hooks_of(program: &Program) -> Value {
    let mut hooks = ask(program, "GET", "/hooks", Value::Null).await.json["data"].clone();
    for hook in hooks.as_array_mut().unwrap() {
        for field in ["tried", "in_flight", "in_flight_limit"] {
            hook.as_object_mut().unwrap().remove(field);
        }
    }
    hooks
}

/// What was owed to the second hook arrives, each of the twenty once.
async fn check_all_arrive(mut receiver: Receiver) {
    let mut said = Vec::new();
    for _ in 0..20 {
        said.push(receiver.next_request().await.json()["said"].as_str().unwrap().to_owned());
    }
    said.sort();
    assert_eq!(said, (0..20).map(|n| format!("{n:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_folder_in_use_is_not_restored_into_and_what_was_there_is_kept() {
    let receiver = Receiver::answering(200).await;
    let program = Home::new("", MODULE).start().await;
    account(&program, &receiver.url("/"), json!({})).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("backup");
    back_up(&program, &file).await;
    let later = account(&program, &receiver.url("/"), json!({})).await;

    let (path, data) = (file.display().to_string(), program.folder().join("data").display().to_string());
    let refused = say(&["restore", &path, "--data", &data]).await.one_line_failure();
    let (_, home) = program.signalled("TERM").await;
    let said = restore(&file, &home).await;

    assert!(refused.contains("hookline.lock is locked"), "{refused}");
    let aside = said.lines().find_map(|line| line.strip_prefix("the database that was there is "));
    let aside = aside.and_then(|rest| rest.strip_suffix(" now")).expect(&said).to_owned();
    let program = home.start().await;
    assert_eq!(ask(&program, "GET", &format!("/v2/accounts/{later}"), Value::Null).await.status, 404);
    // The one that was kept is a backup itself.
    let (_, home) = program.signalled("TERM").await;
    restore(Path::new(&aside), &home).await;
    let program = home.start().await;
    assert_eq!(ask(&program, "GET", &format!("/v2/accounts/{later}"), Value::Null).await.status, 200);
}

#[tokio::test]
async fn a_backup_holds_no_key_and_a_host_without_it_does_not_start() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let mut receiver = Receiver::answering(200).await;
    let program = Home::new("", MODULE).start().await;
    let made = account(&program, &receiver.url("/"), json!({"secret": SECRET})).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("backup");
    back_up(&program, &file).await;
    let key = std::fs::read(program.folder().join("data/secrets.key")).unwrap();

    let home = Home::new("", MODULE);
    let said = restore(&file, &home).await;
    let refused = tests::ended(home.run()).await;
    std::fs::write(home.path("data/secrets.key"), &key).unwrap();
    let program = home.start().await;
    ask(&program, "POST", "/events", fire(&made, "signed")).await;

    assert!(said.contains("1 of the hooks have secrets, and secrets.key is not part of a backup"), "{said}");
    assert!(refused.err.contains("the secret of hook "), "{}", refused.err);
    let request = receiver.next_request().await;
    let signer = standardwebhooks::Webhook::new(SECRET).unwrap();
    signer.verify(&request.body, &request.headers).unwrap();
    let kept = std::fs::read(&file).unwrap();
    let holds = |part: &[u8]| kept.windows(part.len()).any(|window| window == part);
    assert!(!holds(key.trim_ascii()) && !holds(&SECRET.as_bytes()["whsec_".len()..]));
}

#[tokio::test]
async fn a_backup_is_the_administrators_and_overwrites_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let program = Home::new("", &[]).start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("backup");
    let path = file.display().to_string();
    let unknown = say(&["backup", &path, "--url", program.url(), "--token", "x"]).await.one_line_failure();
    let nothing = std::fs::read_dir(elsewhere.path()).unwrap().count();
    std::fs::write(&file, "mine").unwrap();
    let data = program.folder().join("data").display().to_string();
    let there = say(&["backup", &path, "--url", program.url(), "--data", &data]).await.one_line_failure();
    let kept = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();

    back_up(&program, &file).await;

    assert!(unknown.starts_with("hookline: POST /backup: 401 Unauthorized"), "{unknown}");
    assert_eq!(nothing, 0);
    assert!(there.contains("is there already") && kept == "mine", "{there}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_client_that_goes_away_makes_room_for_the_next_backup() {
    let program = Home::new("[limits]\nhook_bytes = 1000000\n", &[]).start().await;
    // Too much for the buffers on the way.
    for n in 0..30 {
        let wide = json!({"data": {"name": format!("{n}"), "filler": "x".repeat(900_000)}});
        made(ask(&program, "PUT", "/v2/accounts", wide).await);
    }
    let request = || {
        let post = reqwest::Client::new().post(format!("{}/backup", program.url()));
        async { post.header("x-auth-token", program.token()).send().await.unwrap() }
    };

    let first = request().await;
    let second = request().await;
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 503));
    assert!(second.text().await.unwrap().contains("another backup is being made"));
    drop(first);

    let free = || async { (request().await.status() == 200).then_some(()) };
    eventually("another backup can be made", free).await;
}

/// What a restore of these bytes says.
async fn restored(bytes: &[u8]) -> tests::Said {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("some.backup");
    std::fs::write(&file, bytes).unwrap();
    let data = folder.path().join("data").display().to_string();
    let said = say(&["restore", &file.display().to_string(), "--data", &data]).await;
    assert!(said.code == Some(0) || !folder.path().join("data/hookline.db").exists());
    said
}

#[tokio::test]
async fn a_backup_with_one_other_byte_or_without_its_end_is_refused_by_name() {
    let receiver = Receiver::answering(200).await;
    let program = Home::new("", MODULE).start().await;
    account(&program, &receiver.url("/"), json!({})).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("whole");
    back_up(&program, &file).await;
    let whole = std::fs::read(&file).unwrap();
    let said = restored(&whole).await.success();
    assert!(!said.contains("warning"), "{said}");

    // All over the file, in the line at its end, and in its last byte.
    let (last, step) = (whole.len() - 1, whole.len() / 20);
    let places = (0..20).map(|n| n * step + n).chain([last, last - 1, last - 40, last - 100, last - 120]);
    for at in places {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        let refused = restored(&flipped).await.one_line_failure();
        assert!(refused.contains("some.backup cannot be restored"), "byte {at}: {refused}");
    }
    for less in [1, 50, 200, 4096, whole.len() / 2, whole.len() - 100] {
        let refused = restored(&whole[..whole.len() - less]).await.one_line_failure();
        assert!(refused.contains("some.backup cannot be restored"), "{less} bytes less: {refused}");
    }
    let mut longer = whole.clone();
    longer.push(b' ');
    let refused = restored(&longer).await.one_line_failure();
    assert!(refused.contains("some.backup cannot be restored"), "{refused}");
}

#[tokio::test]
async fn a_backup_of_an_older_program_is_restored_with_a_warning() {
    let home = Home::new("", &[]);
    let (_, home) = home.start().await.signalled("TERM").await;
    // A database that no host has open is what older programs' backups are.
    let said = restored(&std::fs::read(home.path("data/hookline.db")).unwrap()).await.success();
    assert!(said.contains("warning: ") && said.contains("some.backup has no checksum"), "{said}");
}
