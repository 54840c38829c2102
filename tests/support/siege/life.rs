//! One life of a besieged host after the other: how each begins, what is known of where it is, and how it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::super::{Home, Program};
use super::books::Ledger;
use super::names::{OwnNames, run_by};
use super::senders::Whereabouts;

/// What a log that is kept holds: not each request of a siege.
const LEVEL: &str = "info,hookline::access::audit=warn,hookline::delivery::dispatch=error";

/// How long a host may take to be ready that finds much to do.
const READY_WITHIN: Duration = Duration::from_mins(2);

/// How long its end may take: longer than it allows itself.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// How a life differs from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// So many files may be open.
    pub(super) files: Option<u64>,
    /// Modules run in processes of their own.
    pub(super) isolated: bool,
}

/// A host, whichever life it is in.
pub(super) struct Lives {
    program: Option<Program>,
    host: watch::Sender<Whereabouts>,
    names: Result<OwnNames, String>,
    ledgers: Vec<Arc<Ledger>>,
    logs: Option<PathBuf>,
    level: String,
    begun: u32,
}

impl Lives {
    /// Begins the first one. `ledgers` are told of each further one; each one's log is kept in the folder `logs`.
    pub(super) async fn begin(home: Home, names: bool, logs: Option<PathBuf>) -> Self {
        let names = match names {
            true => OwnNames::start().await.map_err(|error| error.to_string()),
            false => Err("not wished".to_owned()),
        };
        if let Some(logs) = &logs {
            std::fs::create_dir_all(logs).expect("a folder for logs");
        }
        let level = if logs.is_some() { LEVEL } else { "error" };
        let (host, _) = watch::channel(Whereabouts { url: String::new(), pid: 0 });
        let level = level.to_owned();
        let mut lives = Lives { program: None, host, names, ledgers: Vec::new(), logs, level, begun: 0 };
        lives.start(home, Manner::default()).await;
        lives
    }

    /// Ledgers that ask in which life something came.
    pub(super) fn tell(&mut self, ledgers: impl IntoIterator<Item = Arc<Ledger>>) {
        self.ledgers.extend(ledgers);
    }

    /// Returns once it takes events.
    ///
    /// # Panics
    /// It never does.
    pub(super) async fn ready(&self) {
        let since = Instant::now();
        loop {
            let answer = self.program().ask("GET", "/readyz", None).await;
            if answer.status == 200 {
                return;
            }
            let within = since.elapsed() < READY_WITHIN;
            assert!(within, "life {} is not ready within {READY_WITHIN:?}: {}", self.begun, answer.json);
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) fn program(&self) -> &Program {
        self.program.as_ref().expect("a host that runs")
    }

    pub(super) fn host(&self) -> watch::Receiver<Whereabouts> {
        self.host.subscribe()
    }

    /// The host's name server, or why it has none of its own.
    pub(super) fn names(&self) -> Result<&OwnNames, &str> {
        self.names.as_ref().map_err(String::as_str)
    }

    /// Ends it in the middle of whatever it does.
    pub(super) async fn kill(&mut self) -> Home {
        let home = self.program.take().expect("a host that runs").killed().await;
        self.ledgers.iter().for_each(|ledger| ledger.next_life());
        home
    }

    pub(super) async fn start(&mut self, home: Home, manner: Manner) {
        let command = self.command(&home, manner).await;
        self.begun += 1;
        self.keep_log(&home).expect("a place for the log");
        let program = home.start_logging_as(&self.level, command).await;
        self.host.send_replace(Whereabouts { url: program.url().to_owned(), pid: program.pid() });
        self.program = Some(program);
    }

    async fn command(&mut self, home: &Home, manner: Manner) -> Command {
        let mut command = home.run();
        if manner.isolated {
            command.env("HOOKLINE_MODULES__ISOLATION", "process");
        }
        if let Some(files) = manner.files {
            // Both limits: a host raises the one to the other.
            command = run_by(&["prlimit", &format!("--nofile={files}:{files}")], command);
        }
        if let Ok(names) = &self.names {
            match names.asked_by(command, &home.path("resolv.conf")).await {
                Ok(with_names) => return with_names,
                Err(why) => self.names = Err(why),
            }
            return Box::pin(self.command(home, manner)).await;
        }
        command
    }

    /// Ends it in order; or by force, and then why.
    pub(super) async fn end(&mut self) -> (Home, Option<String>) {
        let program = self.program.take().expect("a host that runs");
        let stat = format!("/proc/{}/stat", program.pid());
        program.signal("TERM").await;
        let since = Instant::now();
        // It is this process's child: as long as nobody has asked how it ended, it is there, and dead.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            if since.elapsed() > ENDS_WITHIN {
                return (program.killed().await, Some(format!("it did not end within {ENDS_WITHIN:?}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
        let (said, home) = program.ended().await;
        let badly = (said.code != Some(0)).then(|| format!("it ended badly: {said:?}"));
        (home, badly)
    }

    /// Where each life's log is kept, it is written there.
    fn keep_log(&self, home: &Home) -> std::io::Result<()> {
        let Some(logs) = &self.logs else { return Ok(()) };
        std::fs::remove_file(home.path("log")).ok();
        let kept = logs.canonicalize()?.join(format!("life-{:03}.log", self.begun));
        std::os::unix::fs::symlink(kept, home.path("log"))
    }
}
