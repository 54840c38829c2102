//! The data folder under a host at work: deleted, moved, replaced, or covered by another disk. Nothing is taken then.

use std::path::Path;

use serde_json::{Value, json};
use tests::{Answer, Disk, Home, Program, Receiver, eventually};

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// A host with an account and a hook, asked with the token that its folder had.
struct Watched {
    host: Program,
    token: String,
    account: String,
    receiver: Receiver,
}

impl Watched {
    async fn start() -> Self {
        Self::start_in(Home::new("", MODULE)).await
    }

    async fn start_in(home: Home) -> Self {
        let receiver = Receiver::answering(200).await;
        let host = home.start_logging("info", &[]).await;
        let account = host.account("acme").await;
        host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
        Watched { token: host.token(), host, account, receiver }
    }

    fn data(&self) -> std::path::PathBuf {
        self.host.folder().join("data")
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        Answer::of(self.host.request(method, path).header("x-auth-token", &self.token).json(&body)).await
    }

    async fn post(&self, say: &str) -> Answer {
        let event = json!({
            "Event-Category": "misbehave", "Event-Name": "now", "Account-ID": self.account, "Do": "fire", "Say": say,
        });
        self.ask("POST", "/events", event).await
    }

    /// Waits until it is as ready as it should be; what it says.
    async fn ready(&self, ready: bool) -> String {
        let status = if ready { 200 } else { 503 };
        let asked = || async {
            let answer = Answer::of(self.host.request("GET", "/readyz")).await;
            (answer.status == status).then(|| answer.json.to_string())
        };
        eventually("the host is as ready as it should be", asked).await
    }

    /// From the moment of the harm on nothing is taken, and the host says why.
    async fn refuses(&self, file: &str, what: &str) {
        let posted = self.post("late").await;
        assert_eq!(posted.status, 503, "{}", posted.json);
        let cause = posted.json["data"]["cause"].as_str().unwrap();
        assert!(cause.contains(file) && cause.contains(what), "{cause}");
        assert!(cause.contains("start it again"), "{cause}");
        let made = self.ask("PUT", "/v2/accounts", json!({"data": {"name": "late"}})).await;
        assert_eq!(made.status, 503, "{}", made.json);
        let reasons = self.ready(false).await;
        assert!(reasons.contains(file) && reasons.contains(what), "{reasons}");
        let log = std::fs::read_to_string(self.host.folder().join("log")).unwrap();
        assert!(log.contains(what), "{log}");
    }
}

/// Does harm to the files of a host that has taken an event, and expects it to be noticed.
async fn check(file: &str, what: &str, harm: impl FnOnce(&Path)) {
    let mut watched = Watched::start().await;
    assert_eq!(watched.post("early").await.status, 202);
    watched.receiver.next_request().await;
    harm(&watched.data());
    watched.refuses(file, what).await;
}

#[tokio::test]
async fn a_folder_that_was_deleted_is_noticed() {
    check("hookline.db", "was deleted or moved away", |data| std::fs::remove_dir_all(data).unwrap()).await;
}

#[tokio::test]
async fn a_folder_in_whose_place_another_one_was_put_is_noticed() {
    let copied = |data: &Path| {
        let aside = data.with_extension("aside");
        std::fs::rename(data, &aside).unwrap();
        std::fs::create_dir(data).unwrap();
        for entry in std::fs::read_dir(&aside).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), data.join(entry.file_name())).unwrap();
            }
        }
    };
    check("hookline.db", "was replaced by another file", copied).await;
}

#[tokio::test]
async fn each_file_of_the_database_and_its_lock_are_looked_after() {
    for file in ["hookline.db", "hookline.db-wal", "hookline.db-shm", "hookline.lock"] {
        let deleted = |data: &Path| std::fs::remove_file(data.join(file)).unwrap();
        check(file, "was deleted or moved away", deleted).await;
    }
    let emptied = |data: &Path| {
        std::fs::remove_file(data.join("hookline.db")).unwrap();
        std::fs::write(data.join("hookline.db"), "").unwrap();
    };
    check("hookline.db", "was replaced by another file", emptied).await;
}

#[tokio::test]
async fn it_is_noticed_although_nobody_asks_for_anything() {
    let watched = Watched::start().await;
    std::fs::remove_dir_all(watched.data()).unwrap();
    let reasons = watched.ready(false).await;
    assert!(reasons.contains("was deleted or moved away"), "{reasons}");
    let (said, _) = watched.host.signalled("TERM").await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn a_folder_that_is_moved_back_is_worked_on() {
    let mut watched = Watched::start().await;
    let aside = watched.data().with_extension("aside");
    std::fs::rename(watched.data(), &aside).unwrap();
    watched.refuses("hookline.db", "was deleted or moved away").await;

    std::fs::rename(&aside, watched.data()).unwrap();
    watched.ready(true).await;

    assert_eq!(watched.post("again").await.status, 202);
    assert_eq!(watched.receiver.next_request().await.json()["said"], "again");
}

#[tokio::test]
async fn a_disk_that_covers_the_folder_is_noticed() {
    let watched = Watched::start().await;
    let Some(_disk) = Disk::mounted_or_skipped(&watched.data(), 4, true) else { return };
    watched.refuses("hookline.db", "was deleted or moved away").await;
}

#[tokio::test]
async fn a_token_or_key_that_is_gone_is_said_and_events_are_taken_all_the_same() {
    let mut watched = Watched::start().await;
    for file in ["admin.token", "secrets.key"] {
        let path = watched.data().join(file);
        let aside = path.with_extension("aside");
        std::fs::rename(&path, &aside).unwrap();
        let said = |word: &'static str| {
            let log = watched.host.folder().join("log");
            move || {
                let log = std::fs::read_to_string(&log).unwrap();
                let told = log.lines().any(|line| line.contains(file) && line.contains(word));
                async move { told.then_some(()) }
            }
        };
        eventually("its loss is said", said("is not what it was")).await;
        assert_eq!(watched.post(file).await.status, 202);
        watched.receiver.next_request().await;
        std::fs::rename(&aside, &path).unwrap();
        eventually("its return is said", said("is there again")).await;
    }
}
