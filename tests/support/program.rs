//! The built program, run as people and scripts run it: words in, lines and an exit code out.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use serde_json::{Value, json};

use super::{Answer, PATIENCE, cdylib, eventually, hookline};

/// What a command that has ended said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote on standard output.
    pub out: String,
    /// What it wrote on standard error.
    pub err: String,
}

impl Said {
    /// What a process has said that is not the program.
    ///
    /// # Panics
    /// It did not write UTF-8.
    #[must_use]
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program should write UTF-8");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Its standard output, after a success.
    ///
    /// # Panics
    /// It failed.
    #[track_caller]
    #[allow(clippy::must_use_candidate)]
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// The one line with which it failed.
    ///
    /// # Panics
    /// It did not fail, or said more or less.
    #[track_caller]
    #[must_use]
    pub fn one_line_failure(self) -> String {
        assert!(self.code.is_some_and(|code| code != 0), "it should fail: {self:?}");
        assert_eq!(self.out, "", "a failure has nothing to say on standard output");
        let line = self.err.strip_suffix('\n').expect("a whole line").to_owned();
        assert!(!line.contains('\n'), "more than one line: {line}");
        line
    }
}

/// The program, without the settings that this process's environment may hold.
#[must_use]
#[track_caller]
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(hookline());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOOKLINE_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// What the program says to these words.
///
/// # Panics
/// It does not end.
pub async fn say(args: &[&str]) -> Said {
    ended(program(args)).await
}

/// What the program says to these words with this on its standard input.
///
/// # Panics
/// It does not end.
pub async fn say_with_input(args: &[&str], input: &str) -> Said {
    let mut command = program(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(input.as_bytes()).await.expect("the program should read its input");
    drop(stdin);
    Said::of(patient(child.wait_with_output()).await.expect("the program should end"))
}

/// What a prepared command says.
///
/// # Panics
/// It does not end.
pub async fn ended(mut command: Command) -> Said {
    Said::of(patient(command.output()).await.expect("the program should end"))
}

async fn patient<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("the program should have ended by now")
}

/// A host in a process of its own, with folders of its own. Dropping it kills it.
pub struct Program {
    child: Child,
    out: BufReader<ChildStdout>,
    first_line: String,
    folders: Home,
    http: reqwest::Client,
}

/// The folders of a host that does not run: `data`, `plugins` and `hookline.toml`.
pub struct Home(TempDir);

impl Home {
    /// With these settings (TOML) and modules.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    #[track_caller]
    pub fn new(settings: &str, modules: &[&str]) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let home = Home(root);
        std::fs::create_dir(home.path("plugins")).expect("a plugins folder");
        for module in modules {
            let file = cdylib(module);
            let name = file.file_name().expect("a file name").to_owned();
            std::fs::copy(file, home.path("plugins").join(name)).expect("a copy of a module");
        }
        std::fs::write(home.path("hookline.toml"), settings).expect("a file of settings");
        home
    }

    /// Something in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The words that run a host in it, on a free port.
    #[must_use]
    #[track_caller]
    pub fn run(&self) -> Command {
        let mut command = program(&["run", "--listen", "127.0.0.1:0"]);
        // Receivers of tests are local; a test of the guard says itself what is allowed.
        let settings = std::fs::read_to_string(self.path("hookline.toml")).expect("its settings");
        if !settings.contains("allow_targets") {
            command.env("HOOKLINE_DELIVERY__ALLOW_TARGETS", "127.0.0.0/8,::1/128");
        }
        let flags = [("--config", "hookline.toml"), ("--data", "data"), ("--plugins", "plugins")];
        for (flag, name) in flags {
            command.arg(flag).arg(self.path(name));
        }
        command.current_dir(self.0.path());
        command
    }

    /// The words that run a host in it that may have so many files open.
    #[must_use]
    #[track_caller]
    pub fn run_with_files(&self, most: u32) -> Command {
        let run = self.run();
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={most}")).arg(run.as_std().get_program()).args(run.as_std().get_args());
        for (name, value) in run.as_std().get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(self.0.path()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// A host that runs in it.
    ///
    /// # Panics
    /// It does not say where it listens.
    pub async fn start(self) -> Program {
        let command = self.run();
        self.start_as(command).await
    }

    /// A host that runs in it with these further words and writes what this level logs into the file `log`.
    ///
    /// # Panics
    /// It does not say where it listens.
    pub async fn start_logging(self, level: &str, words: &[&str]) -> Program {
        let mut command = self.run();
        command.args(words);
        self.start_logging_as(level, command).await
    }

    /// As [`start_logging`](Self::start_logging), started by this command.
    ///
    /// # Panics
    /// It does not say where it listens.
    pub async fn start_logging_as(self, level: &str, mut command: Command) -> Program {
        let log = std::fs::File::create(self.path("log")).expect("a file for the log");
        command.env("RUST_LOG", level).stderr(log);
        self.launched(command).await
    }

    /// A host that runs in it, started by this command.
    ///
    /// # Panics
    /// It does not say where it listens.
    pub async fn start_as(self, mut command: Command) -> Program {
        command.stderr(Stdio::piped());
        self.launched(command).await
    }

    async fn launched(self, mut command: Command) -> Program {
        command.stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program");
        let mut out = BufReader::new(child.stdout.take().expect("its output"));
        let mut first_line = String::new();
        patient(out.read_line(&mut first_line)).await.expect("a line");
        if first_line.is_empty() {
            let said = Said::of(patient(child.wait_with_output()).await.expect("an end"));
            panic!("the host did not start: {said:?}");
        }
        Program { child, out, first_line, folders: self, http: reqwest::Client::new() }
    }
}

impl Program {
    /// `http://127.0.0.1:PORT`, from the line that it printed.
    ///
    /// # Panics
    /// The line is another.
    #[must_use]
    #[track_caller]
    pub fn url(&self) -> &str {
        let address = self.first_line.strip_prefix("listening on ").and_then(|rest| rest.strip_suffix('\n'));
        address.unwrap_or_else(|| panic!("an unexpected first line: {:?}", self.first_line))
    }

    /// The administrator's token.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn token(&self) -> String {
        let token = std::fs::read_to_string(self.folder().join("data/admin.token")).expect("a token");
        token.trim().to_owned()
    }

    /// Its folder, with `data` and `plugins` in it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folders.0.path()
    }

    /// Its process.
    ///
    /// # Panics
    /// It has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("a process")
    }

    /// Asks its API as the administrator.
    ///
    /// # Panics
    /// There is no answer.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.url()));
        let request = request.header("x-auth-token", self.token());
        Answer::of(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    /// Asks its API in the test's own way, without a token.
    ///
    /// # Panics
    /// It is no method.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().expect("a method"), format!("{}{path}", self.url()))
    }

    /// Makes an account.
    ///
    /// # Panics
    /// It is not made.
    pub async fn account(&self, name: &str) -> String {
        self.ask("PUT", "/v2/accounts", Some(json!({"data": {"name": name}}))).await.created_id()
    }

    /// Makes a hook with JSON bodies, with these further fields.
    ///
    /// # Panics
    /// It is not made.
    pub async fn hook(&self, account: &str, event: &str, uri: &str, more: Value) -> String {
        let mut hook = json!({"name": event, "hook": event, "uri": uri, "format": "json"});
        let fields = hook.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object of further fields").clone());
        let path = format!("/v2/accounts/{account}/webhooks");
        self.ask("PUT", &path, Some(json!({"data": hook}))).await.created_id()
    }

    /// Waits until `/readyz` says that it is ready, or that it is not; what it says.
    ///
    /// # Panics
    /// It never does.
    #[track_caller]
    pub fn ready(&self, ready: bool) -> impl Future<Output = Value> {
        let status = if ready { 200 } else { 503 };
        let asked = move || async move {
            let answer = self.ask("GET", "/readyz", None).await;
            (answer.status == status).then_some(answer.json)
        };
        eventually("the host is as ready as it should be", asked)
    }

    /// Waits until no delivery is pending.
    ///
    /// # Panics
    /// Some stay.
    #[track_caller]
    pub fn owes_nothing(&self) -> impl Future<Output = ()> {
        let asked = move || async move {
            let figures =
                self.http.get(format!("{}/metrics", self.url())).send().await.ok()?.text().await.ok()?;
            figures.lines().any(|line| line == "hookline_deliveries_pending 0").then_some(())
        };
        eventually("nothing is owed", asked)
    }

    /// Sends it a signal (`TERM`, `INT`).
    ///
    /// # Panics
    /// It cannot be sent.
    pub async fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        // `kill` is built into every shell; as a program it need not be there.
        let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", signal, &pid]).status().await;
        assert!(sent.expect("a shell").success(), "the signal could not be sent");
    }

    /// Sends it a signal and waits for its end; with all that it has written.
    ///
    /// # Panics
    /// It does not end.
    pub async fn signalled(self, signal: &str) -> (Said, Home) {
        self.signal(signal).await;
        self.ended().await
    }

    /// Waits for its end; with all that it has written.
    ///
    /// # Panics
    /// It does not end.
    pub async fn ended(mut self) -> (Said, Home) {
        let mut rest = String::new();
        patient(self.out.read_to_string(&mut rest)).await.expect("the rest of its output");
        let mut said = Said::of(patient(self.child.wait_with_output()).await.expect("an end"));
        said.out = format!("{}{rest}", self.first_line);
        (said, self.folders)
    }

    /// Ends it as `kill -9` does, in the middle of whatever it does.
    ///
    /// # Panics
    /// It cannot be killed.
    pub async fn killed(mut self) -> Home {
        self.child.kill().await.expect("a process to kill");
        self.folders
    }
}
